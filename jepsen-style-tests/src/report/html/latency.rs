//! Latency over time on a logarithmic scale: a dot for what operations took, lines for percentiles.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::plot::{Frame, HEIGHT, WIDTH, short};
use crate::history::{Kind, Operation};
use crate::report::timeline::{Latency, Percentiles, Timeline, kind_of, kinds};
use crate::report::{FaultRecord, text};

/// Dots fall on a grid this wide: two on the same place look like one, and are one.
const COLUMNS: f64 = 400.0;

/// And this high.
const ROWS: f64 = 100.0;

/// Dots of one plot; of more, every so manieth is drawn.
const DOTS_MAX: usize = 6_000;

/// Places on the line of percentiles; of more buckets, the worst of each group is drawn.
const LINE_POINTS_MAX: usize = 400;

/// The class of operations that failed, behind those of the kinds.
const FAIL: &str = "fail";

/// The class of operations of which nobody knows.
const INFO: &str = "info";

/// The plot, with its legend.
pub(super) fn plot(
    operations: &[Operation<'_>],
    timeline: &Timeline,
    faults: &[FaultRecord],
) -> Markup {
    let names = kinds(operations);
    let scale = Scale::of(operations);
    let frame = Frame {
        end_ns: timeline.end_ns,
        faults,
        ticks: scale.ticks(),
        label: "Latency of operations over time. Arrow keys read it second by second.",
    };
    let dots = dots(operations, &names, &frame, &scale);
    let shapes = html! {
        @for (class, path) in &dots {
            @if !path.is_empty() {
                path.dots.(class) data-series=(class) d=(path) {}
            }
        }
        path.line.p50 data-series="p50" d=(line(timeline, &frame, &scale, |latency| latency.p50)) {}
        path.line.p99 data-series="p99" d=(line(timeline, &frame, &scale, |latency| latency.p99)) {}
    };
    html! {
        div.legend role="group" aria-label="Show or hide" {
            @for (at, name) in names.iter().enumerate() {
                button type="button" aria-pressed="true" data-toggle={ "f" (at) } {
                    i.{ "f" (at) } {} (text::clip(name, 40))
                }
            }
            @for (class, name) in [(FAIL, "failed"), (INFO, "unknown"), ("p50", "p50 of ok"), ("p99", "p99 of ok")] {
                button type="button" aria-pressed="true" data-toggle=(class) { i.(class) {} (name) }
            }
        }
        (frame.draw(&shapes))
    }
}

/// From the shortest to the longest latency, in whole decades.
struct Scale {
    lowest: i32,
    highest: i32,
}

impl Scale {
    fn of(operations: &[Operation<'_>]) -> Self {
        let latencies = || operations.iter().filter_map(latency_ns).map(|ns| ns.max(1));
        let decade = |ns: u64| (ns as f64).log10();
        // A few odd ones at the bottom of the scale would take its room from all others.
        let lowest = latencies().min().map_or(6, |ns| decade(ns).floor() as i32);
        let highest = latencies().max().map_or(9, |ns| decade(ns).ceil() as i32);
        let lowest = lowest.clamp(3, 9);
        Self {
            lowest,
            highest: highest.max(lowest + 1),
        }
    }

    fn y(&self, latency_ns: u64) -> f64 {
        let decades = f64::from(self.highest - self.lowest);
        let above = (latency_ns.max(1) as f64).log10() - f64::from(self.lowest);
        HEIGHT * (1.0 - (above / decades).clamp(0.0, 1.0))
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        (self.lowest..=self.highest)
            .map(|decade| {
                let latency_ns = 10_u64.saturating_pow(decade.unsigned_abs());
                (self.y(latency_ns), text::time(latency_ns))
            })
            .collect()
    }
}

fn latency_ns(operation: &Operation<'_>) -> Option<u64> {
    let ended = operation.completion?.time;
    Some(ended.saturating_sub(operation.invoke.time))
}

/// A path of dots for each class: lines of no length with round ends.
fn dots(
    operations: &[Operation<'_>],
    names: &[String],
    frame: &Frame<'_>,
    scale: &Scale,
) -> Vec<(String, String)> {
    let classes: Vec<String> = (0..names.len())
        .map(|at| format!("f{at}"))
        .chain([FAIL.to_owned(), INFO.to_owned()])
        .collect();
    let mut places = BTreeSet::new();
    for operation in operations {
        let Some(latency) = latency_ns(operation) else {
            continue;
        };
        let class = match operation.outcome() {
            Kind::Ok => kind_of(names, &operation.invoke.f),
            Kind::Fail => names.len(),
            Kind::Info | Kind::Invoke => names.len() + 1,
        };
        let column = (frame.x(operation.invoke.time) / WIDTH * COLUMNS) as u32;
        let row = (scale.y(latency) / HEIGHT * ROWS) as u32;
        places.insert((class, column, row));
    }
    let step = places.len().div_ceil(DOTS_MAX).max(1);
    let mut paths = vec![String::new(); classes.len()];
    for (class, column, row) in places.into_iter().step_by(step) {
        let x = short(f64::from(column) * WIDTH / COLUMNS);
        let y = short(f64::from(row) * HEIGHT / ROWS);
        // Writing to a string does not fail.
        let _ = write!(paths[class], "M{x} {y}h0");
    }
    classes.into_iter().zip(paths).collect()
}

/// A percentile by bucket; it breaks where there is none.
fn line(
    timeline: &Timeline,
    frame: &Frame<'_>,
    scale: &Scale,
    percentile: impl Fn(&Percentiles) -> u64,
) -> String {
    let buckets = &timeline.all.buckets;
    let group = buckets.len().div_ceil(LINE_POINTS_MAX).max(1);
    let width_ns = timeline.bucket_ns * group as u64;
    let mut path = String::new();
    let mut pen = 'M';
    for (at, buckets) in buckets.chunks(group).enumerate() {
        let Some(latency) = buckets.iter().flatten().map(&percentile).max() else {
            pen = 'M';
            continue;
        };
        let middle = at as u64 * width_ns + width_ns / 2;
        let (x, y) = (frame.x(middle.min(timeline.end_ns)), scale.y(latency));
        let _ = write!(path, "{pen}{} {}", short(x), short(y));
        if pen == 'M' {
            // A point alone is still to be seen.
            path.push_str("h0");
        }
        pen = 'L';
    }
    path
}

/// The figures of the whole run, by kind.
pub(super) fn table(timeline: &Timeline) -> Markup {
    let row = |latency: &Latency| {
        html! {
            tr {
                th scope="row" { (text::clip(&latency.f, 40)) }
                td.number { (text::count(latency.total.count)) }
                @for latency in [latency.total.p50, latency.total.p95, latency.total.p99, latency.total.max] {
                    td.number { (text::time(latency)) }
                }
            }
        }
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label="Latency by operation" {
            table {
                thead {
                    tr {
                        th scope="col" { "Operation" }
                        @for name in ["ok", "p50", "p95", "p99", "max"] {
                            th.number scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for latency in &timeline.by_f { (row(latency)) }
                    @if timeline.by_f.len() > 1 { (row(&timeline.all)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_size_of_a_plot_does_not_grow_with_the_history() {
        let size = |events| {
            let run = sample::run(events);
            let operations = run.history.operations();
            let timeline = Timeline::of(&run.history);
            let page = plot(&operations, &timeline, &run.faults).into_string();
            let dots = page.matches("h0").count();
            assert!(dots <= DOTS_MAX + 2 * LINE_POINTS_MAX, "{dots} dots");
            assert!(dots > 100, "{dots} dots");
            page.len()
        };
        let (small, large) = (size(20_000), size(200_000));
        assert!(small < 200_000 && large < 200_000, "{small}, {large}");
    }

    #[test]
    fn the_scale_is_in_decades() {
        let history = sample::history([
            (0, 1_500_000, Kind::Ok, "read"),
            (0, 2_000_000_000, Kind::Info, "read"),
        ]);
        let scale = Scale::of(&history.operations());
        let names: Vec<_> = scale.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        assert!((scale.y(100_000_000) - HEIGHT / 2.0).abs() < 1e-6);
        assert!((scale.y(1) - HEIGHT).abs() < 1e-6);
        Scale::of(&[]).ticks();
    }
}
