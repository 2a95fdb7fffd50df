//! The frame of a plot over time: scales, grid, the shades and names of faults, the place of the reading line.
//!
//! Shapes are SVG that stretches with the page; all text is HTML put over it by percentage, so that it stays readable on
//! a phone. Shapes are drawn in a box of [`WIDTH`] by [`HEIGHT`].

use maud::{Markup, html};

use crate::report::{FaultRecord, text};

/// The width of the box that shapes are drawn in.
pub(super) const WIDTH: f64 = 1_000.0;

/// Its height.
pub(super) const HEIGHT: f64 = 300.0;

/// Rows of names of faults above a plot; what does not fit shares the last.
const LANES_MAX: usize = 4;

/// Faults that are shaded; a plot with more would be all shade. The table has all.
const SHADES_MAX: usize = 200;

/// A name above a plot takes at least this part of its width, be its fault ever so short.
const LABELS_MAX: u64 = 30;

/// Ticks along time, about.
const TIME_TICKS: f64 = 8.0;

/// A plot without its data.
pub(super) struct Frame<'r> {
    /// The end of the axis of time.
    pub(super) end_ns: u64,
    /// What to shade.
    pub(super) faults: &'r [FaultRecord],
    /// Lines of the grid from top (0) to bottom ([`HEIGHT`]), and their names.
    pub(super) ticks: Vec<(f64, String)>,
    /// What the plot shows, in a sentence, for those who cannot see it.
    pub(super) label: &'r str,
}

impl Frame<'_> {
    /// With data, which is SVG.
    pub(super) fn draw(&self, shapes: &Markup) -> Markup {
        let lanes = lanes(self.faults, self.end_ns / LABELS_MAX);
        let rows = lanes.iter().map(|lane| lane + 1).max().unwrap_or(0);
        html! {
            div.plot {
                // The table of faults says the same to those who do not see it.
                div.lanes style={ "--rows:" (rows) } aria-hidden="true" {
                    @for (at, (fault, lane)) in self.faults.iter().zip(&lanes).take(SHADES_MAX).enumerate() {
                        @let (left, right) = self.span(fault);
                        a.fault href={ "#fault-" (at + 1) } tabindex="-1" title={ (fault.name) ": " (text::clip(&fault.what, 200)) }
                            style={ "--left:" (percent(left)) "%;width:" (percent(right - left)) "%;--lane:" (lane) } {
                            b { (at + 1) } " " (text::clip(&fault.name, 60))
                        }
                    }
                }
                div.area data-plot tabindex="0" role="slider" aria-label=(self.label)
                    aria-valuemin="0" aria-valuemax="0" aria-valuenow="0" {
                    svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                        @for fault in self.faults.iter().take(SHADES_MAX) {
                            @let (left, right) = self.span(fault);
                            rect.shade x=(short(left)) y="0" width=(short(right - left)) height=(HEIGHT) {}
                            path.edge d={ "M" (short(left)) " 0V" (HEIGHT) "M" (short(right)) " 0V" (HEIGHT) } {}
                        }
                        @for (y, _) in &self.ticks {
                            path.grid d={ "M0 " (short(*y)) "H" (WIDTH) } {}
                        }
                        (shapes)
                    }
                    @for (y, name) in &self.ticks {
                        span.tick style={ "top:" (short(y / HEIGHT * 100.0)) "%" } { (name) }
                    }
                    span.cursor hidden {}
                }
                div.times aria-hidden="true" {
                    @for (x, name) in self.times() {
                        span.end[x > WIDTH * 0.97] style={ "left:" (percent(x)) "%" } { (name) }
                    }
                }
            }
        }
    }

    /// A time's place.
    pub(super) fn x(&self, time_ns: u64) -> f64 {
        (time_ns as f64 / self.end_ns.max(1) as f64).min(1.0) * WIDTH
    }

    /// A fault's sides; wide enough to be seen.
    fn span(&self, fault: &FaultRecord) -> (f64, f64) {
        let left = self.x(fault.start_ns).min(WIDTH - 2.0);
        (left, self.x(fault.end_ns).max(left + 2.0))
    }

    fn times(&self) -> Vec<(f64, String)> {
        let seconds = self.end_ns as f64 / 1e9;
        let steps = [
            0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0,
            3_600.0, 7_200.0, 21_600.0, 86_400.0,
        ];
        let step = steps
            .into_iter()
            .find(|step| seconds / step <= TIME_TICKS)
            .unwrap_or(seconds / TIME_TICKS);
        let ticks = (seconds / step + 1e-9) as u64;
        (0..=ticks)
            .map(|tick| {
                let at = tick as f64 * step;
                let name = match step {
                    60.0.. => format!("{} min", short(at / 60.0)),
                    _ => format!("{} s", short(at)),
                };
                (at / seconds * WIDTH, name)
            })
            .collect()
    }
}

/// The row of each fault's name, so that no two overlap as long as rows last.
fn lanes(faults: &[FaultRecord], shortest_ns: u64) -> Vec<usize> {
    let mut free_from: Vec<u64> = Vec::new();
    faults
        .iter()
        .map(|fault| {
            let lane = free_from
                .iter()
                .position(|&free| free <= fault.start_ns)
                .unwrap_or(free_from.len().min(LANES_MAX - 1));
            if lane == free_from.len() {
                free_from.push(0);
            }
            let end_ns = fault.end_ns.max(fault.start_ns.saturating_add(shortest_ns));
            free_from[lane] = free_from[lane].max(end_ns);
            lane
        })
        .collect()
}

/// A coordinate with at most one decimal.
pub(super) fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// A coordinate as hundredths of the width.
fn percent(x: f64) -> String {
    format!("{:.2}", x / WIDTH * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::fault;

    #[test]
    fn names_of_faults_do_not_overlap_while_rows_last() {
        let at = |start, end| fault("pause", &["n1"], start, end);
        assert_eq!(
            lanes(&[at(0, 10), at(5, 15), at(10, 20), at(12, 30)], 0),
            [0, 1, 0, 2]
        );
        assert_eq!(lanes(&[at(0, 1), at(2, 3), at(9, 9)], 5), [0, 1, 0]);
        let many: Vec<_> = (0..9).map(|start| at(start, 100)).collect();
        assert_eq!(lanes(&many, 0), [0, 1, 2, 3, 3, 3, 3, 3, 3]);
    }

    #[test]
    fn times_are_round_and_few() {
        let names = |end_ns| {
            let frame = Frame {
                end_ns,
                faults: &[],
                ticks: Vec::new(),
                label: "",
            };
            frame
                .times()
                .into_iter()
                .map(|(_, name)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(61_000_000_000),
            ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s"]
        );
        assert_eq!(names(1_200_000_000).last().unwrap(), "1.2 s");
        assert_eq!(names(3_600_000_000_000)[1], "10 min");
        assert!(names(1_000_000_000_000_000).len() <= 13);
        assert_eq!(names(1).len(), 1);
    }
}
