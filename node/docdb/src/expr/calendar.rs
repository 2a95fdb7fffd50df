//! The proleptic Gregorian calendar and the weeks of ISO 8601, for any number of milliseconds since 1970.

pub(super) const DAY_MS: i64 = 86_400_000;

/// A date taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) day_of_year: i64,
    /// 1 is Sunday.
    pub(super) day_of_week: i64,
    /// Within the day.
    pub(super) millisecond: i64,
}

impl Civil {
    pub(super) fn of(millis: i64) -> Self {
        let days = millis.div_euclid(DAY_MS);
        // Years that begin in March put the leap day last; 400 of them have 146,097 days.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year =
            day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_march_year + 2) / 153;
        let day = day_of_march_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = is_leap(year);
        let day_of_year = if month <= 2 {
            day_of_march_year - 305
        } else {
            day_of_march_year + 60 + i64::from(leap)
        };
        Self {
            year,
            month,
            day,
            day_of_year,
            day_of_week: (days + 4).rem_euclid(7) + 1,
            millisecond: millis.rem_euclid(DAY_MS),
        }
    }

    pub(super) fn hour(self) -> i64 {
        self.millisecond / 3_600_000
    }

    pub(super) fn minute(self) -> i64 {
        self.millisecond / 60_000 % 60
    }

    pub(super) fn second(self) -> i64 {
        self.millisecond / 1_000 % 60
    }

    /// Within the second.
    pub(super) fn fraction(self) -> i64 {
        self.millisecond % 1_000
    }

    /// 0 to 53: the weeks of the year begin with its first Sunday.
    pub(super) fn week(self) -> i64 {
        (self.day_of_year + 7 - self.day_of_week) / 7
    }

    /// 1 is Monday.
    pub(super) fn iso_day_of_week(self) -> i64 {
        (self.day_of_week + 5) % 7 + 1
    }

    /// Year and week of ISO 8601: weeks begin on Monday, the first one holds the year's first Thursday.
    pub(super) fn iso_week(self) -> (i64, i64) {
        let week = (self.day_of_year - self.iso_day_of_week() + 10) / 7;
        if week < 1 {
            (self.year - 1, iso_weeks(self.year - 1))
        } else if week > iso_weeks(self.year) {
            (self.year + 1, 1)
        } else {
            (self.year, week)
        }
    }
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// 53 in years that begin on a Thursday, and in leap years that begin on a Wednesday.
fn iso_weeks(year: i64) -> i64 {
    let first = (days(year, 1, 1) + 3).rem_euclid(7) + 1;
    52 + i64::from(first == 4 || (first == 3 && is_leap(year)))
}

pub(super) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day; months and days beyond their range are carried. The year must be
/// within some hundred millions.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year + (month - 1).div_euclid(12);
    let month = (month - 1).rem_euclid(12) + 1;
    // As in `Civil::of`, years begin in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468 + day - 1
}

/// Days from 1970-01-01 to a day of a week of ISO 8601.
pub(super) fn iso_days(year: i64, week: i64, day_of_week: i64) -> i64 {
    // The fourth of January lies in the first week.
    let fourth = days(year, 1, 4);
    let monday = fourth - (fourth + 3).rem_euclid(7);
    monday + (week - 1) * 7 + day_of_week - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_taken_apart_is_put_together_again() {
        for millis in (-4_000_000..4_000_000).map(|n: i64| n * 19_876_543_210) {
            let civil = Civil::of(millis);
            let day = days(civil.year, civil.month, civil.day);
            assert_eq!(day * DAY_MS + civil.millisecond, millis);
            assert!((1..=days_in_month(civil.year, civil.month)).contains(&civil.day));
            assert_eq!(day - days(civil.year, 1, 1) + 1, civil.day_of_year);
            let (year, week) = civil.iso_week();
            assert_eq!(iso_days(year, week, civil.iso_day_of_week()), day);
        }
    }

    #[test]
    fn weeks() {
        let of = |year, month, day| Civil::of(days(year, month, day) * DAY_MS);
        assert_eq!(of(2016, 1, 3).iso_week(), (2015, 53));
        assert_eq!(of(2016, 1, 4).iso_week(), (2016, 1));
        assert_eq!(of(2018, 12, 31).iso_week(), (2019, 1));
        assert_eq!(of(2024, 1, 6).week(), 0);
        assert_eq!(of(2024, 1, 7).week(), 1);
        assert_eq!(of(2024, 12, 31).week(), 52);
        assert_eq!(of(2024, 1, 7).iso_day_of_week(), 7);
    }
}
