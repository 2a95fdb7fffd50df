//! The search of Wing and Gong as Lowe improved it ("Testing for linearizability", 2017): calls and returns stand in a
//! doubly linked list; a call that is not behind any return may be next; taken calls are lifted out of the list, and
//! put back when the search returns. What was reached before (the set of taken calls and the state) is not entered
//! again.
//!
//! Calls of unknown outcome have no return. They are kept beside the list and tried last, and a configuration that took
//! more of them than another with the same state is not entered: whatever follows from it follows from the other too.

use std::collections::HashMap;
use std::mem::size_of;

use super::model::Model;

/// Room for what one key's search has reached; twice as much is used while the table grows.
pub(super) const MEMO_BYTES_MAX: usize = 256 << 20;

/// Overhead of an entry of the memo: table slot, two allocations and their lengths.
const MEMO_ENTRY_BYTES: usize = 96;

/// Calls before the stuck one that a counterexample tells.
const PATH_SHOWN_MAX: usize = 8;

/// A set of small numbers.
type Bits = Box<[u64]>;

/// A call on its way through the search.
#[derive(Debug, Clone)]
pub(super) struct Timed<C> {
    pub(super) call: C,
    /// Index of its invocation.
    pub(super) invoke: u64,
    /// Index of its completion; `u64::MAX` when it may take effect for ever or never.
    pub(super) end: u64,
}

/// Where a stretch of history begins or ends: a state, and which calls of unknown outcome were taken on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configuration<S> {
    pub(super) state: S,
    pub(super) taken: Bits,
}

/// The furthest point that the search reached.
#[derive(Debug, Clone)]
pub(super) struct Stuck<S> {
    pub(super) state: S,
    /// Position of the return that cannot be reached with its call taken.
    limit: u64,
    /// The last calls taken: whether they are certain, and their place.
    pub(super) path: Vec<Taken>,
    /// Certain calls that were open and not taken, the inexplicable one first.
    pub(super) open: Vec<usize>,
}

/// What a step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// A call that has a return.
    Certain(usize),
    /// A call of unknown outcome.
    Maybe(usize),
}

/// What came of a stretch.
#[derive(Debug)]
pub(super) enum Outcome<S> {
    /// It can be explained, and may end so.
    Ends(Vec<Configuration<S>>),
    /// It cannot.
    Stuck(Stuck<S>),
    /// The search took too many steps or too much memory.
    OutOfBounds(&'static str),
}

/// A node of the list; the first and last are sentinels.
#[derive(Debug, Clone, Copy)]
struct Node {
    next: usize,
    previous: usize,
    role: Role,
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Head,
    Call(usize),
    Return(usize),
    Tail,
}

/// Where a frame goes on.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    /// At a node of the list.
    List(usize),
    /// At a call of unknown outcome, if it was invoked before `limit`.
    Maybe { next: usize, limit: u64 },
}

struct Frame<S> {
    state: S,
    cursor: Cursor,
    taken: Option<Taken>,
}

/// A stretch of one key's history in which at its begin and end no certain call is open.
pub(super) struct Search<'m, M: Model> {
    model: &'m M,
    certain: &'m [Timed<M::Call>],
    maybe: &'m [Timed<M::Call>],
    nodes: Vec<Node>,
    call_nodes: Vec<usize>,
    return_nodes: Vec<usize>,
    done: Vec<u64>,
    taken: Bits,
    memo: HashMap<(Bits, M::State), Vec<Bits>>,
    memo_bytes: usize,
    stuck: Option<Stuck<M::State>>,
    ends: Vec<Configuration<M::State>>,
}

fn set(bits: &mut [u64], at: usize, to: bool) {
    if to {
        bits[at / 64] |= 1 << (at % 64);
    } else {
        bits[at / 64] &= !(1 << (at % 64));
    }
}

fn has(bits: &[u64], at: usize) -> bool {
    bits[at / 64] & (1 << (at % 64)) != 0
}

fn within(small: &[u64], large: &[u64]) -> bool {
    small
        .iter()
        .zip(large)
        .all(|(small, large)| small & !large == 0)
}

/// The empty set with room for `count` numbers.
pub(super) fn no_bits(count: usize) -> Bits {
    vec![0; count.div_ceil(64)].into()
}

impl<'m, M: Model> Search<'m, M> {
    /// `certain` by invocation; `maybe` are all calls of unknown outcome of the key, by invocation.
    pub(super) fn new(
        model: &'m M,
        certain: &'m [Timed<M::Call>],
        maybe: &'m [Timed<M::Call>],
    ) -> Self {
        let mut order: Vec<(u64, Role)> = Vec::with_capacity(certain.len() * 2);
        for (at, call) in certain.iter().enumerate() {
            order.push((call.invoke, Role::Call(at)));
            order.push((call.end, Role::Return(at)));
        }
        order.sort_by_key(|(position, _)| *position);
        let mut roles = vec![Role::Head];
        roles.extend(order.into_iter().map(|(_, role)| role));
        roles.push(Role::Tail);
        let mut call_nodes = vec![0; certain.len()];
        let mut return_nodes = vec![0; certain.len()];
        let mut nodes = Vec::with_capacity(roles.len());
        for (at, role) in roles.into_iter().enumerate() {
            match role {
                Role::Call(call) => call_nodes[call] = at,
                Role::Return(call) => return_nodes[call] = at,
                Role::Head | Role::Tail => {}
            }
            nodes.push(Node {
                next: at + 1,
                previous: at.saturating_sub(1),
                role,
            });
        }
        Self {
            model,
            certain,
            maybe,
            nodes,
            call_nodes,
            return_nodes,
            done: vec![0; certain.len().div_ceil(64)],
            taken: no_bits(maybe.len()),
            memo: HashMap::new(),
            memo_bytes: 0,
            stuck: None,
            ends: Vec::new(),
        }
    }

    /// Searches from each of `starts`. With `one_end` the first explanation will do; otherwise all ends are found that
    /// differ in what may follow. `steps` is what may still be spent.
    pub(super) fn run(
        mut self,
        starts: &[Configuration<M::State>],
        one_end: bool,
        steps: &mut u64,
    ) -> Outcome<M::State> {
        for start in starts {
            self.taken.clone_from(&start.taken);
            if let Err(why) = self.search_from(&start.state, one_end, steps) {
                return Outcome::OutOfBounds(why);
            }
            if one_end && !self.ends.is_empty() {
                break;
            }
        }
        match self.stuck {
            Some(stuck) if self.ends.is_empty() => Outcome::Stuck(stuck),
            _ => Outcome::Ends(self.ends),
        }
    }

    fn search_from(
        &mut self,
        state: &M::State,
        one_end: bool,
        steps: &mut u64,
    ) -> Result<(), &'static str> {
        let mut stack = vec![Frame {
            state: state.clone(),
            cursor: Cursor::List(self.nodes[0].next),
            taken: None,
        }];
        while let Some(frame) = stack.last_mut() {
            if matches!(self.nodes[self.nodes[0].next].role, Role::Tail) {
                self.end(frame.state.clone());
                if one_end {
                    return Ok(());
                }
                self.backtrack(&mut stack);
                continue;
            }
            let Some(candidate) = self.candidate(&mut frame.cursor) else {
                self.remember_stuck(&stack);
                self.backtrack(&mut stack);
                continue;
            };
            *steps = steps.checked_sub(1).ok_or("too many steps")?;
            let call = match candidate {
                Taken::Certain(at) => &self.certain[at].call,
                Taken::Maybe(at) => &self.maybe[at].call,
            };
            let Some(next) = self.model.step(&frame.state, call) else {
                continue;
            };
            self.mark(candidate, true);
            if self.is_new(&next)? {
                self.lift(candidate);
                stack.push(Frame {
                    state: next,
                    cursor: Cursor::List(self.nodes[0].next),
                    taken: Some(candidate),
                });
            } else {
                self.mark(candidate, false);
            }
        }
        Ok(())
    }

    /// The next call that may be taken, certain ones first.
    fn candidate(&self, cursor: &mut Cursor) -> Option<Taken> {
        loop {
            match *cursor {
                Cursor::List(node) => match self.nodes[node].role {
                    Role::Call(at) => {
                        *cursor = Cursor::List(self.nodes[node].next);
                        return Some(Taken::Certain(at));
                    }
                    Role::Return(at) => {
                        *cursor = Cursor::Maybe {
                            next: 0,
                            limit: self.certain[at].end,
                        };
                    }
                    Role::Head | Role::Tail => return None,
                },
                Cursor::Maybe { next, limit } => {
                    if next >= self.maybe.len() || self.maybe[next].invoke > limit {
                        return None;
                    }
                    *cursor = Cursor::Maybe {
                        next: next + 1,
                        limit,
                    };
                    if !has(&self.taken, next) {
                        return Some(Taken::Maybe(next));
                    }
                }
            }
        }
    }

    fn mark(&mut self, candidate: Taken, to: bool) {
        match candidate {
            Taken::Certain(at) => set(&mut self.done, at, to),
            Taken::Maybe(at) => set(&mut self.taken, at, to),
        }
    }

    fn lift(&mut self, candidate: Taken) {
        if let Taken::Certain(at) = candidate {
            for node in [self.call_nodes[at], self.return_nodes[at]] {
                let Node { next, previous, .. } = self.nodes[node];
                self.nodes[previous].next = next;
                self.nodes[next].previous = previous;
            }
        }
    }

    fn backtrack(&mut self, stack: &mut Vec<Frame<M::State>>) {
        let Some(taken) = stack.pop().and_then(|frame| frame.taken) else {
            return;
        };
        self.mark(taken, false);
        if let Taken::Certain(at) = taken {
            // The other way round than they were lifted.
            for node in [self.return_nodes[at], self.call_nodes[at]] {
                let Node { next, previous, .. } = self.nodes[node];
                self.nodes[previous].next = node;
                self.nodes[next].previous = node;
            }
        }
    }

    /// Whether no configuration was met before from which at least as much follows.
    fn is_new(&mut self, state: &M::State) -> Result<bool, &'static str> {
        let key = (self.done_window(), state.clone());
        let bytes = MEMO_ENTRY_BYTES + size_of::<M::State>() + (key.0.len() + self.taken.len()) * 8;
        let sets = self.memo.entry(key).or_default();
        if sets.iter().any(|set| within(set, &self.taken)) {
            return Ok(false);
        }
        sets.retain(|set| !within(&self.taken, set));
        sets.push(self.taken.clone());
        self.memo_bytes += bytes;
        if self.memo_bytes > MEMO_BYTES_MAX {
            return Err("too much memory");
        }
        Ok(true)
    }

    /// The set of taken certain calls without the full words before and the empty words behind: calls are taken about
    /// in the order of their invocations, so little remains.
    fn done_window(&self) -> Bits {
        let first = self
            .done
            .iter()
            .take_while(|word| **word == u64::MAX)
            .count();
        let last = self
            .done
            .iter()
            .rposition(|word| *word != 0)
            .map_or(first, |at| at + 1)
            .max(first);
        let mut window = Vec::with_capacity(last - first + 1);
        window.push(first as u64);
        window.extend_from_slice(&self.done[first..last]);
        window.into()
    }

    fn end(&mut self, state: M::State) {
        let taken = &self.taken;
        let known = |end: &Configuration<M::State>| end.state == state && within(&end.taken, taken);
        if self.ends.iter().any(known) {
            return;
        }
        self.ends
            .retain(|end| end.state != state || !within(taken, &end.taken));
        self.ends.push(Configuration {
            state,
            taken: taken.clone(),
        });
    }

    fn remember_stuck(&mut self, stack: &[Frame<M::State>]) {
        let mut open = Vec::new();
        let mut node = self.nodes[0].next;
        let limit = loop {
            match self.nodes[node].role {
                Role::Call(at) => open.push(at),
                Role::Return(at) => {
                    open.retain(|other| *other != at);
                    open.insert(0, at);
                    break self.certain[at].end;
                }
                Role::Head | Role::Tail => return,
            }
            node = self.nodes[node].next;
        };
        if self
            .stuck
            .as_ref()
            .is_some_and(|stuck| stuck.limit >= limit)
        {
            return;
        }
        let Some(top) = stack.last() else { return };
        let shown = stack.len().saturating_sub(PATH_SHOWN_MAX);
        self.stuck = Some(Stuck {
            state: top.state.clone(),
            limit,
            path: stack[shown..]
                .iter()
                .filter_map(|frame| frame.taken)
                .collect(),
            open,
        });
    }
}
