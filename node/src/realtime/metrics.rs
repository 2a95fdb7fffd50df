//! What realtime counts, for the metrics page.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Numbers of this node since it started.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) sockets: AtomicI64,
    pub(crate) watches: AtomicI64,
    events: AtomicU64,
    dropped: AtomicU64,
    resumed: AtomicU64,
}

impl Counters {
    pub(crate) fn sent(&self, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, events: u64) {
        self.dropped.fetch_add(events, Ordering::Relaxed);
    }

    pub(crate) fn resumed(&self) {
        self.resumed.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the numbers to a metrics page.
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, number) in [
            (
                "realtime_sockets",
                "Open sockets of watching clients",
                &self.sockets,
            ),
            (
                "realtime_watches",
                "Watches of these sockets",
                &self.watches,
            ),
        ] {
            let gauge: Gauge<i64, AtomicI64> = Gauge::default();
            gauge.set(number.load(Ordering::Relaxed));
            registry.register(name, help, gauge);
        }
        for (name, help, number) in [
            ("realtime_events", "Events sent to watches", &self.events),
            (
                "realtime_dropped_events",
                "Events dropped because a socket was too slow; its watch resumed",
                &self.dropped,
            ),
            (
                "realtime_resumptions",
                "Watches resumed after a lost socket or dropped events",
                &self.resumed,
            ),
        ] {
            let counter = Counter::<u64>::default();
            counter.inc_by(number.load(Ordering::Relaxed));
            registry.register(name, help, counter);
        }
    }
}

/// One more in a gauge, as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted {
    counters: std::sync::Arc<Counters>,
    of: fn(&Counters) -> &AtomicI64,
}

impl Counted {
    pub(crate) fn new(
        counters: &std::sync::Arc<Counters>,
        of: fn(&Counters) -> &AtomicI64,
    ) -> Self {
        of(counters).fetch_add(1, Ordering::Relaxed);
        Self {
            counters: counters.clone(),
            of,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.of)(&self.counters).fetch_sub(1, Ordering::Relaxed);
    }
}
