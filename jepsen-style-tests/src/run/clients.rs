//! The processes of a run: each takes one step after the other until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::recorder::Recorder;
use crate::access::{Access, Outcome, Session};
use crate::workload::{Place, Step, Workload};

/// Longest pause between the steps of a client: so that faults meet clients in every state.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// Longest wait for a step, beyond the time that its own client gives it.
const STEP_MAX: Duration = Duration::from_secs(15);
/// Pause after an operation that failed: a node that refuses at once must not fill the history.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// What all clients share.
pub(crate) struct Load {
    /// What they do.
    pub(crate) workload: Arc<dyn Workload>,
    /// Where.
    pub(crate) access: Access,
    /// Who writes it down.
    pub(crate) recorder: Arc<Recorder>,
    /// Fixes what each does.
    pub(crate) seed: u64,
    /// How many they are.
    pub(crate) clients: u64,
    /// Tells them to stop.
    pub(crate) stop: AtomicBool,
}

impl Load {
    /// One client, until it is told to stop.
    pub(crate) async fn client(self: Arc<Self>, number: u64) {
        // What it does depends on the seed and its number alone, not on how the others fare.
        let mut rng = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut process = number;
        let mut session = None;
        for step in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let place = Place {
                client: number,
                clients: self.clients,
                step,
            };
            let next = self.workload.next(&mut rng, place);
            let pause = PAUSE_MAX.mul_f64(rng.random());
            let first = usize::try_from(number).unwrap_or(0);
            let held = match session.take() {
                Some(session) => session,
                None => match self.access.session(first) {
                    Ok(session) => session,
                    Err(error) => {
                        eprintln!("client {number}: {error}");
                        return;
                    }
                },
            };
            let outcome = self.take(process, &held, &next).await;
            match outcome {
                // What became of it is not known, so this process is thought to be at it for ever.
                Outcome::Info(_) => process += self.clients,
                _ => session = Some(held),
            }
            if !matches!(outcome, Outcome::Ok(_)) {
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One step with its place in the history.
    pub(crate) async fn take(&self, process: u64, session: &Session, step: &Step) -> Outcome {
        self.recorder.invoke(process, step);
        let done = self.workload.carry_out(session, step);
        let outcome = match tokio::time::timeout(STEP_MAX, done).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Info("the step did not end in time".into()),
        };
        self.recorder.complete(process, step, outcome.clone());
        outcome
    }
}
