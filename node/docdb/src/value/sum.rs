//! Sums of numbers as MongoDB computes them: integers exactly, doubles with compensation for what rounding loses.

use bson::{RawBson, RawBsonRef};

use super::arithmetic::integer_result;

/// A running sum.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sum {
    integers: i128,
    double: f64,
    /// What the additions to `double` lost.
    lost: f64,
    /// The sum of all doubles once one was NaN or infinite.
    special: Option<f64>,
    has_long: bool,
    has_double: bool,
    count: u64,
}

impl Sum {
    /// Adds a number; false when it is none.
    pub(crate) fn add(&mut self, value: RawBsonRef<'_>) -> bool {
        match value {
            RawBsonRef::Int32(v) => self.integers += i128::from(v),
            RawBsonRef::Int64(v) => {
                self.integers += i128::from(v);
                self.has_long = true;
            }
            RawBsonRef::Double(v) => {
                self.has_double = true;
                self.add_double(v);
            }
            _ => return false,
        }
        self.count += 1;
        true
    }

    fn add_double(&mut self, v: f64) {
        if let Some(special) = &mut self.special {
            *special += v;
            return;
        }
        let sum = self.double + v;
        if !sum.is_finite() {
            self.special = Some(sum);
            return;
        }
        let part = sum - self.double;
        self.lost += (self.double - (sum - part)) + (v - part);
        self.double = sum;
    }

    /// The sum in the widest type that was added; integers that do not fit become wider.
    pub(crate) fn total(&self) -> RawBson {
        if self.has_double {
            return RawBson::Double(self.as_f64());
        }
        match i64::try_from(self.integers) {
            Ok(sum) => integer_result(sum, !self.has_long),
            Err(_) => RawBson::Double(self.integers as f64),
        }
    }

    /// The mean; `None` of nothing.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.as_f64() / self.count as f64)
    }

    fn as_f64(&self) -> f64 {
        if let Some(special) = self.special {
            return special + self.integers as f64;
        }
        // In two parts, so that the integers lose nothing before the sum does.
        let high = self.integers as f64;
        let low = self.integers.saturating_sub(high as i128) as f64;
        let mut whole = Self {
            double: self.double,
            lost: self.lost,
            ..Self::default()
        };
        whole.add_double(high);
        whole.add_double(low);
        whole.special.unwrap_or(whole.double + whole.lost)
    }

    /// Everything about the sum, to go on with elsewhere.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(58);
        bytes.extend_from_slice(&self.integers.to_le_bytes());
        bytes.extend_from_slice(&self.double.to_le_bytes());
        bytes.extend_from_slice(&self.lost.to_le_bytes());
        bytes.extend_from_slice(&self.special.unwrap_or_default().to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        let flags = [self.special.is_some(), self.has_long, self.has_double];
        bytes.extend(flags.map(u8::from));
        bytes
    }

    /// Adds a sum that [`to_bytes`](Self::to_bytes) wrote; `None` when the bytes are not one.
    pub(crate) fn merge(&mut self, bytes: &[u8]) -> Option<()> {
        let (integers, rest) = bytes.split_first_chunk()?;
        let (double, rest) = rest.split_first_chunk()?;
        let (lost, rest) = rest.split_first_chunk()?;
        let (special, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let [is_special, has_long, has_double] = *rest else {
            return None;
        };
        self.integers += i128::from_le_bytes(*integers);
        for part in [f64::from_le_bytes(*double), f64::from_le_bytes(*lost)] {
            self.add_double(part);
        }
        if is_special != 0 {
            let special = f64::from_le_bytes(*special);
            self.special = Some(self.special.unwrap_or(self.double) + special);
        }
        self.count += u64::from_le_bytes(*count);
        self.has_long |= has_long != 0;
        self.has_double |= has_double != 0;
        Some(())
    }
}

/// Mean and deviation in one pass.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Deviation {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Deviation {
    /// Adds a number; false when it is none.
    pub(crate) fn add(&mut self, value: RawBsonRef<'_>) -> bool {
        let Some(number) = super::compare::Number::of(value) else {
            return false;
        };
        let v = number.as_f64();
        self.count += 1;
        let delta = v - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (v - self.mean);
        true
    }

    /// Of the numbers as a whole, or as a sample of more; `None` of too few.
    pub(crate) fn value(&self, is_sample: bool) -> Option<f64> {
        let least = 1 + u64::from(is_sample);
        (self.count >= least)
            .then(|| (self.squares / (self.count - u64::from(is_sample)) as f64).sqrt())
    }

    /// Everything about it, to go on with elsewhere.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.mean.to_le_bytes());
        bytes.extend_from_slice(&self.squares.to_le_bytes());
        bytes
    }

    /// Adds what [`to_bytes`](Self::to_bytes) wrote; `None` when the bytes are something else.
    pub(crate) fn merge(&mut self, bytes: &[u8]) -> Option<()> {
        let (count, rest) = bytes.split_first_chunk()?;
        let (mean, rest) = rest.split_first_chunk()?;
        let (squares, _) = rest.split_first_chunk()?;
        let (count, mean) = (u64::from_le_bytes(*count), f64::from_le_bytes(*mean));
        let total = self.count + count;
        if count == 0 {
            return Some(());
        }
        let (own, other, all) = (self.count as f64, count as f64, total as f64);
        let delta = mean - self.mean;
        self.squares += f64::from_le_bytes(*squares) + delta * delta * own * other / all;
        self.mean += delta * other / all;
        self.count = total;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sum(values: &[RawBsonRef<'_>]) -> Sum {
        let mut sum = Sum::default();
        for value in values {
            assert!(sum.add(*value));
        }
        sum
    }

    #[test]
    fn sums_keep_types_and_lose_nothing() {
        use RawBsonRef as V;
        assert_eq!(sum(&[V::Int32(1), V::Int32(2)]).total(), RawBson::Int32(3));
        assert_eq!(
            sum(&[V::Int32(i32::MAX), V::Int32(1)]).total(),
            RawBson::Int64(1 << 31)
        );
        assert_eq!(sum(&[V::Int64(1), V::Int32(2)]).total(), RawBson::Int64(3));
        let large = [V::Int64(i64::MAX), V::Int64(i64::MAX)];
        assert_eq!(sum(&large).total(), RawBson::Double(2.0_f64.powi(64)));
        let back = [V::Int64(i64::MAX), V::Int64(i64::MAX), V::Int64(-i64::MAX)];
        assert_eq!(sum(&back).total(), RawBson::Int64(i64::MAX));
        let tenths = [V::Double(0.1); 10];
        assert_eq!(sum(&tenths).total(), RawBson::Double(1.0));
        let lossy = [V::Double(1e16), V::Double(1.0), V::Double(-1e16)];
        assert_eq!(sum(&lossy).total(), RawBson::Double(1.0));
        let endless = [V::Double(f64::INFINITY), V::Double(1.0)];
        assert_eq!(sum(&endless).total(), RawBson::Double(f64::INFINITY));
        assert!(!Sum::default().add(V::String("1")));
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let values: Vec<f64> = (0..100).map(|n| f64::from(n) * 0.37 - 11.0).collect();
        let (mut whole, mut left, mut right) = Default::default();
        let (mut spread, mut spread_left, mut spread_right): (Deviation, Deviation, Deviation) =
            Default::default();
        for (at, value) in values.iter().enumerate() {
            let value = RawBsonRef::Double(*value);
            Sum::add(&mut whole, value);
            spread.add(value);
            if at < 30 {
                Sum::add(&mut left, value);
                spread_left.add(value);
            } else {
                Sum::add(&mut right, value);
                spread_right.add(value);
            }
        }
        left.merge(&right.to_bytes()).unwrap();
        assert!((left.mean().unwrap() - whole.mean().unwrap()).abs() < 1e-12);
        assert_eq!(left.count, 100);
        spread_left.merge(&spread_right.to_bytes()).unwrap();
        for is_sample in [false, true] {
            let (a, b) = (
                spread.value(is_sample).unwrap(),
                spread_left.value(is_sample).unwrap(),
            );
            assert!((a - b).abs() < 1e-12);
        }
        assert_eq!(Deviation::default().value(false), None);
        assert_eq!(left.merge(&[1, 2]), None);
    }
}
