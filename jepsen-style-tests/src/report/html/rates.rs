//! How many operations ended a second, stacked by outcome.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::plot::{Frame, HEIGHT, short};
use crate::report::availability::Counts;
use crate::report::timeline::Timeline;
use crate::report::{FaultRecord, text};

/// Steps along time; of more buckets, means of groups are drawn.
const STEPS_MAX: usize = 400;

/// Lines of the grid, about.
const TICKS: f64 = 4.0;

/// The plot, with its legend.
pub(super) fn plot(timeline: &Timeline, faults: &[FaultRecord]) -> Markup {
    let steps = steps(timeline);
    let highest = steps
        .iter()
        .map(|step| step.rates.iter().sum::<f64>())
        .fold(1.0, f64::max);
    let tick = round_up(highest / TICKS);
    let top = (highest / tick).ceil() * tick;
    let frame = Frame {
        end_ns: timeline.end_ns,
        faults,
        ticks: (0..=(top / tick).round() as u64)
            .map(|at| {
                let rate = at as f64 * tick;
                (
                    HEIGHT * (1.0 - rate / top),
                    format!("{}/s", text::count(rate as u64)),
                )
            })
            .collect(),
        label: "Operations a second by outcome. Arrow keys read it second by second.",
    };
    let y = |rate: f64| HEIGHT * (1.0 - rate / top);
    let shapes = html! {
        @for (at, class) in ["ok", "fail", "info"].into_iter().enumerate() {
            path.stack.(class) d=(area(&steps, at, &frame, y)) {}
        }
    };
    html! {
        div.legend {
            @for (class, name) in [("ok", "ok: took effect"), ("fail", "failed: certainly took none"), ("info", "unknown: may have taken effect")] {
                span.key { i.(class) {} (name) }
            }
        }
        (frame.draw(&shapes))
    }
}

struct Step {
    start_ns: u64,
    end_ns: u64,
    /// Ok, fail, info a second.
    rates: [f64; 3],
}

fn steps(timeline: &Timeline) -> Vec<Step> {
    let group = timeline.outcomes.len().div_ceil(STEPS_MAX).max(1);
    let mut steps = Vec::new();
    for (at, buckets) in timeline.outcomes.chunks(group).enumerate() {
        let first = at * group;
        let mut sum = Counts::default();
        let mut seconds = 0.0;
        for (place, counts) in buckets.iter().enumerate() {
            sum.ok += counts.ok;
            sum.fail += counts.fail;
            sum.info += counts.info;
            seconds += timeline.seconds(first + place);
        }
        steps.push(Step {
            start_ns: first as u64 * timeline.bucket_ns,
            end_ns: ((first + buckets.len()) as u64 * timeline.bucket_ns).min(timeline.end_ns),
            rates: [sum.ok, sum.fail, sum.info].map(|count| count as f64 / seconds),
        });
    }
    steps
}

/// The area of one outcome, upon those before it: there along its top, back along its bottom.
fn area(steps: &[Step], outcome: usize, frame: &Frame<'_>, y: impl Fn(f64) -> f64) -> String {
    if steps.iter().all(|step| step.rates[outcome] == 0.0) {
        return String::new();
    }
    let below = |step: &Step| step.rates[..outcome].iter().sum::<f64>();
    let mut path = String::new();
    for (at, step) in steps.iter().enumerate() {
        let pen = if at == 0 { 'M' } else { 'L' };
        let (left, right) = (frame.x(step.start_ns), frame.x(step.end_ns));
        let top = short(y(below(step) + step.rates[outcome]));
        // Writing to a string does not fail.
        let _ = write!(path, "{pen}{} {top}H{}", short(left), short(right));
    }
    for step in steps.iter().rev() {
        let (left, right) = (frame.x(step.start_ns), frame.x(step.end_ns));
        let bottom = short(y(below(step)));
        let _ = write!(path, "L{} {bottom}H{}", short(right), short(left));
    }
    path.push('Z');
    path
}

/// The next of 1, 2, 5, 10, 20, 50 ...
fn round_up(number: f64) -> f64 {
    let decade = 10_f64.powf(number.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * decade)
        .find(|&step| step >= number)
        .unwrap_or(10.0 * decade)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kind;
    use crate::report::sample;

    #[test]
    fn outcomes_are_stacked() {
        let history = sample::history([
            (0, 100_000_000, Kind::Ok, "read"),
            (0, 100_000_001, Kind::Ok, "read"),
            (0, 200_000_000, Kind::Info, "read"),
            (0, 2_000_000_000, Kind::Fail, "read"),
        ]);
        let timeline = Timeline::of(&history);
        let steps = steps(&timeline);
        assert_eq!(steps[0].rates, [2.0, 0.0, 1.0]);
        assert_eq!(steps[1].rates, [0.0, 1.0, 0.0]);
        let frame = Frame {
            end_ns: timeline.end_ns,
            faults: &[],
            ticks: Vec::new(),
            label: "",
        };
        let y = |rate: f64| 300.0 - 100.0 * rate;
        assert_eq!(
            area(&steps, 2, &frame, y),
            "M0 0H500L500 200H1000L1000 200H500L500 100H0Z"
        );
        assert!(area(&steps, 0, &frame, y).starts_with("M0 100H500L500 300H1000"));
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            [0.2, 1.0, 3.0, 51.0, 700.0].map(round_up),
            [1.0, 1.0, 5.0, 100.0, 1000.0]
        );
    }

    #[test]
    fn long_runs_have_bounded_plots() {
        let history = sample::history(
            (0..50_000).map(|at| (at * 300_000_000, at * 300_000_000 + 5, Kind::Ok, "read")),
        );
        let page = plot(&Timeline::of(&history), &[]).into_string();
        assert!(page.len() < 40_000, "{}", page.len());
    }
}
