//! What a run saw, in the form that scripts rely on.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::server_cpu::Usage;

/// Longest latency that is told apart from longer ones.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// An empty histogram of latencies in microseconds, to three significant digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
        .expect("the bounds are constants within those allowed")
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Name of the workload.
    pub workload: &'static str,
    /// Loops at once.
    pub clients: usize,
    /// How long was measured.
    pub seconds: f64,
    /// Operations that succeeded.
    pub ops: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Latencies of half, 90%, 99% and all operations at most.
    pub percentiles_us: [u64; 4],
    /// Flags that weaken what the numbers mean, and measurements that were asked for.
    pub extras: Map<String, Value>,
}

impl Report {
    /// What `seen` and `errors` amount to.
    pub fn new(
        workload: &'static str,
        clients: usize,
        seconds: f64,
        seen: &Histogram<u64>,
        errors: u64,
    ) -> Self {
        let at = |quantile| seen.value_at_quantile(quantile);
        Self {
            workload,
            clients,
            seconds,
            ops: seen.len(),
            errors,
            percentiles_us: [at(0.5), at(0.9), at(0.99), seen.max()],
            extras: Map::new(),
        }
    }

    /// Adds what the servers used between two looks at them, CPU time shared out over the operations.
    pub fn add_server_usage(&mut self, before: Usage, after: Usage) {
        let cpu_us = after.cpu_us.saturating_sub(before.cpu_us) as f64;
        let per_op = if self.ops == 0 {
            0.0
        } else {
            cpu_us / self.ops as f64
        };
        self.extras
            .insert("server_cpu_us_per_op".into(), json!(rounded(per_op, 10.0)));
        self.extras
            .insert("server_rss_bytes".into(), json!(after.resident_bytes));
    }

    /// The result as the command prints it.
    pub fn to_json(&self) -> Value {
        let [p50, p90, p99, max] = self.percentiles_us;
        let per_second = if self.seconds > 0.0 {
            self.ops as f64 / self.seconds
        } else {
            0.0
        };
        let mut value = json!({
            "workload": self.workload, "clients": self.clients, "seconds": rounded(self.seconds, 1000.0),
            "ops": self.ops, "ops_per_s": rounded(per_second, 10.0), "errors": self.errors,
            "p50_us": p50, "p90_us": p90, "p99_us": p99, "max_us": max,
        });
        if let Value::Object(members) = &mut value {
            members.extend(self.extras.clone());
        }
        value
    }
}

/// Keeps the digits that mean something.
fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_the_contract_in_their_order() {
        let mut seen = histogram();
        (1..=1000).for_each(|us| seen.saturating_record(us));
        let report = Report::new("insert", 64, 10.0, &seen, 2);
        let text = report.to_json().to_string();
        assert_eq!(
            text,
            r#"{"workload":"insert","clients":64,"seconds":10.0,"ops":1000,"ops_per_s":100.0,"errors":2,"p50_us":500,"p90_us":900,"p99_us":990,"max_us":1000}"#
        );
    }

    #[test]
    fn a_run_without_a_success_is_all_zeros() {
        let report = Report::new("read", 1, 0.0, &histogram(), 9);
        assert_eq!(report.to_json()["ops_per_s"], 0.0);
        assert_eq!(report.percentiles_us, [0; 4]);
    }
}
