//! What one socket may do and does: logins, watches, and the answers to its messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::{Grant, Standing};
use super::hub::{Hub, Opened, Opening};
use super::message::{self, Inbound, InitWatch, LoginProof, Resume};
use super::metrics::Counted;
use super::outbox::{Outbox, Watch};
use super::ticket;
use crate::call::{Caller, Failure, Retry};
use crate::node::now_ms;

/// Longest name that a client may give to a watch or a request.
const NAME_BYTES_MAX: usize = 256;

/// The code of a request on a socket that has not logged in.
const LOGIN_FIRST: &str = "CHECK_LOGIN_FAILED";

/// One socket's state.
pub(crate) struct Session {
    hub: Arc<Hub>,
    pub(crate) outbox: Arc<Outbox>,
    logins: Mutex<HashMap<String, Caller>>,
    watches: Mutex<HashMap<String, Slot>>,
    next_turn: AtomicU64,
    /// Bounds the tasks that open watches, whatever their names.
    tasks: Arc<Semaphore>,
    openings: Semaphore,
}

/// The place of a watch, from its request on.
struct Slot {
    /// Tells requests for the same name apart.
    turn: u64,
    env: String,
    open: Option<Opened>,
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.watch.close();
        }
    }
}

impl Session {
    pub(crate) fn new(hub: Arc<Hub>) -> Arc<Self> {
        let limits = &hub.limits;
        Arc::new(Self {
            outbox: Outbox::new(
                limits.clone(),
                hub.queued_bytes.clone(),
                hub.counters.clone(),
            ),
            logins: Mutex::default(),
            watches: Mutex::default(),
            next_turn: AtomicU64::new(0),
            tasks: Arc::new(Semaphore::new(limits.watches_per_socket_max)),
            openings: Semaphore::new(limits.openings_per_socket_max),
            hub,
        })
    }

    /// Whether somebody has logged in.
    pub(crate) fn is_logged_in(&self) -> bool {
        !self.logins.lock().is_empty()
    }

    /// Lets go of all watches: the socket has gone.
    pub(crate) fn end(&self) {
        self.outbox.close(1000, "");
        self.watches.lock().clear();
    }

    /// Takes one message.
    pub(crate) fn take(self: &Arc<Self>, text: &str) {
        let inbound: Inbound<'_> = match serde_json::from_str(text) {
            Ok(inbound) => inbound,
            Err(error) => {
                let failure = message::invalid(format!("the message cannot be read: {error}"));
                self.fail(None, "", &failure);
                return;
            }
        };
        let watch_id = inbound.watch_id.as_deref();
        let too_long = |name: &str| name.len() > NAME_BYTES_MAX;
        if too_long(&inbound.request_id) || watch_id.is_some_and(too_long) {
            let failure = message::invalid(format!(
                "watchId and requestId have at most {NAME_BYTES_MAX} bytes"
            ));
            self.fail(None, "", &failure);
            return;
        }
        let outcome = match inbound.msg_type.as_str() {
            "PING" => {
                self.outbox.answer(message::pong(&inbound.request_id));
                Ok(())
            }
            "LOGIN" => {
                self.login(&inbound);
                Ok(())
            }
            "INIT_WATCH" | "REBUILD_WATCH" => self.begin(&inbound, text),
            "CHECK_LAST" => self.check_last(&inbound),
            "CLOSE_WATCH" => {
                if let Some(watch_id) = watch_id {
                    self.watches.lock().remove(watch_id);
                }
                Ok(())
            }
            other => {
                let shown: String = other.chars().take(32).collect();
                Err(message::invalid(format!(
                    "the message type `{shown}` is not known"
                )))
            }
        };
        if let Err(failure) = outcome {
            // Clients answer this failure of a request to watch by logging in and asking again, but one that names the
            // watch they first report to the app. Some believe for a moment that a new socket is logged in, because
            // the one before was.
            let retries = failure.code == LOGIN_FIRST && inbound.msg_type != "CHECK_LAST";
            let watch_id = watch_id.filter(|_| !retries);
            self.fail(watch_id, &inbound.request_id, &failure);
        }
    }

    fn fail(&self, watch_id: Option<&str>, request_id: &str, failure: &Failure) {
        self.outbox.answer(message::error(
            watch_id,
            request_id,
            &failure.code,
            &failure.message,
        ));
    }

    fn login(&self, inbound: &Inbound<'_>) {
        let outcome = self.try_login(inbound);
        let outcome = outcome.as_ref().map(String::as_str);
        self.outbox
            .answer(message::login_result(&inbound.request_id, outcome));
    }

    fn try_login(&self, inbound: &Inbound<'_>) -> Result<String, Failure> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Login {
            #[serde(default)]
            env_id: String,
        }
        let login: Login = inbound.data()?;
        let env = self.env_of(Some(login.env_id))?;
        let proof: LoginProof = match inbound.ex_msg_data {
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|error| message::invalid(format!("exMsgData: {error}")))?,
            None => LoginProof::default(),
        };
        let caller = ticket::check(&self.hub.seal, &env, &proof.sign_str, now_ms())?;
        let mut logins = self.logins.lock();
        let logins_max = self.hub.limits.logins_per_socket_max;
        if logins.len() >= logins_max && !logins.contains_key(&env) {
            return Err(Failure::new(
                "EXCEED_REQUEST_LIMIT",
                format!("a socket logs in to at most {logins_max} environments"),
                Retry::Never,
            ));
        }
        logins.insert(env.clone(), caller);
        Ok(env)
    }

    /// The environment that a message means.
    fn env_of(&self, named: Option<String>) -> Result<String, Failure> {
        let named = named.filter(|env| !env.is_empty());
        named
            .or_else(|| self.hub.keys.only_env())
            .filter(|env| self.hub.keys.has_env(env))
            .ok_or_else(|| {
                let message = "there is no environment of this name: check `env`";
                Failure::new("INVALIID_ENV", message, Retry::Never)
            })
    }

    fn caller_in(&self, env: &str) -> Result<Caller, Failure> {
        self.logins.lock().get(env).cloned().ok_or_else(|| {
            let message = "LOGIN comes first";
            Failure::new(LOGIN_FIRST, message, Retry::Never)
        })
    }

    /// Opens or resumes a watch in a task of its own, so that nothing else on the socket waits for it.
    fn begin(self: &Arc<Self>, inbound: &Inbound<'_>, text: &str) -> Result<(), Failure> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Named {
            #[serde(default)]
            env_id: Option<String>,
        }
        let watch_id = inbound
            .watch_id
            .clone()
            .ok_or_else(|| message::invalid("the message has no watchId".into()))?;
        let env = self.env_of(inbound.data::<Named>()?.env_id)?;
        let opening = Opening {
            caller: self.caller_in(&env)?,
            env: env.clone(),
            watch_id: watch_id.clone(),
            request_id: inbound.request_id.clone(),
            outbox: self.outbox.clone(),
            deadline: Instant::now() + self.hub.limits.answer_timeout,
        };
        let task = self.tasks.clone().try_acquire_owned();
        let task = task.map_err(|_| too_many("watches are being opened on this socket"))?;
        let turn = self.reserve(&watch_id, env)?;
        let (session, text, request_id) =
            (self.clone(), text.to_owned(), inbound.request_id.clone());
        tokio::spawn(async move {
            let outcome = Box::pin(session.open(opening, &text)).await;
            session.settle(&watch_id, turn, outcome, &request_id);
            drop(task);
        });
        Ok(())
    }

    async fn open(&self, opening: Opening, text: &str) -> Result<Opened, Failure> {
        let late = opening.deadline.into();
        let work = async {
            let _turn = self.openings.acquire().await;
            // Read again, since what was read before borrowed from the message.
            let inbound: Inbound<'_> =
                serde_json::from_str(text).map_err(|error| message::invalid(error.to_string()))?;
            if inbound.msg_type == "INIT_WATCH" {
                let asked: InitWatch<'_> = inbound.data()?;
                self.hub.open(opening, &asked).await
            } else {
                let asked: Resume = inbound.data()?;
                self.hub.resume(opening, &asked).await
            }
        };
        tokio::time::timeout_at(late, work)
            .await
            .unwrap_or_else(|_| {
                let message = "the watch could not be opened in time; try again";
                Err(Failure::new("SERVER_TIMEOUT", message, Retry::Safe))
            })
    }

    /// Takes a place for a watch; one of the same name ends.
    fn reserve(&self, watch_id: &str, env: String) -> Result<u64, Failure> {
        let mut watches = self.watches.lock();
        watches.remove(watch_id);
        if watches.len() >= self.hub.limits.watches_per_socket_max {
            return Err(too_many("watches on this socket"));
        }
        let permit = self.hub.watches.clone().try_acquire_owned();
        let turn = self.next_turn.fetch_add(1, Ordering::Relaxed);
        watches.insert(
            watch_id.to_owned(),
            Slot {
                turn,
                env,
                open: None,
                _permit: permit.map_err(|_| too_many("watches on this node"))?,
                _counted: Counted::new(&self.hub.counters, |counters| &counters.watches),
            },
        );
        Ok(turn)
    }

    fn settle(
        &self,
        watch_id: &str,
        turn: u64,
        outcome: Result<Opened, Failure>,
        request_id: &str,
    ) {
        let mut watches = self.watches.lock();
        let slot = watches.get_mut(watch_id).filter(|slot| slot.turn == turn);
        match (outcome, slot) {
            (Ok(opened), Some(slot)) => slot.open = Some(opened),
            // It was closed, or asked for anew, or the socket has gone.
            (Ok(opened), None) => opened.watch.close(),
            (Err(failure), slot) => {
                if slot.is_some() {
                    watches.remove(watch_id);
                }
                drop(watches);
                tracing::debug!(code = %failure.code, reason = failure.message, "watch refused");
                self.fail(Some(watch_id), request_id, &failure);
            }
        }
    }

    fn check_last(&self, inbound: &Inbound<'_>) -> Result<(), Failure> {
        let asked: Resume = inbound.data()?;
        let watch_id = inbound.watch_id.as_deref().unwrap_or_default();
        let watches = self.watches.lock();
        let open = watches.get(watch_id).and_then(|slot| slot.open.as_ref());
        // Of a watch that is not here the client must resume, which a later event than its own makes it do.
        let last = open.map_or(asked.event_id.saturating_add(1), |open| open.watch.last());
        self.outbox.answer(message::check_event(
            watch_id,
            &inbound.request_id,
            &asked.query_id,
            last,
        ));
        Ok(())
    }

    /// Ends what the callers may no longer see. `false`: the socket ends.
    pub(crate) async fn check_standing(&self) -> bool {
        let logins: Vec<_> = self.logins.lock().clone().into_iter().collect();
        for (env, caller) in &logins {
            if self.hub.access.standing(caller, env).await == Standing::Ended {
                self.outbox.close(3050, "signed out");
                return false;
            }
        }
        let open: Vec<(String, String, Arc<Watch>, String, Grant)> = self
            .watches
            .lock()
            .iter()
            .filter_map(|(watch_id, slot)| {
                let open = slot.open.as_ref()?;
                Some((
                    watch_id.clone(),
                    slot.env.clone(),
                    open.watch.clone(),
                    open.collection.clone(),
                    open.grant.clone(),
                ))
            })
            .collect();
        for (watch_id, env, watch, collection, grant) in open {
            let Some((_, caller)) = logins.iter().find(|(name, _)| *name == env) else {
                continue;
            };
            if !self
                .hub
                .access
                .holds(caller, &env, &collection, &grant)
                .await
            {
                watch.close();
                self.watches.lock().remove(&watch_id);
                let message = "what the caller may read has changed: open the watch anew";
                let failure = Failure::new("QUERYID_INVALID_ERROR", message, Retry::Never);
                self.fail(
                    Some(&watch_id),
                    &message::push_id(&watch.query_id, watch.last()),
                    &failure,
                );
            }
        }
        true
    }
}

fn too_many(what: &str) -> Failure {
    Failure::new(
        "EXCEED_CONCURRENT_REQUEST_LIMIT",
        format!("too many {what}: close some"),
        Retry::Safe,
    )
}
