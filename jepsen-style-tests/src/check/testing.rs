//! What the tests of the judges share: histories written as text, histories of a small database in memory that may be
//! told to be wrong, and mutations of histories.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{Anomaly, Validity, Verdict};
use crate::history::{Event, History, Kind, Process, Value};

/// A history of lines `process kind f value`; the value is EDN and may be left out.
pub(crate) fn history(text: &str) -> History {
    let mut history = History::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().expect("process kind f value");
        let process = word().parse().expect("a process");
        let kind = match word() {
            "invoke" => Kind::Invoke,
            "ok" => Kind::Ok,
            "fail" => Kind::Fail,
            "info" => Kind::Info,
            other => panic!("{other} is no kind"),
        };
        let f = word().to_owned();
        let value = words.next().map_or(Value::Nil, edn);
        push(&mut history, process, kind, &f, value);
    }
    history
}

/// Adds an event; a microsecond passes between events.
pub(crate) fn push(history: &mut History, process: Process, kind: Kind, f: &str, value: Value) {
    let time = history.events.len() as u64 * 1000;
    history.push(Event {
        index: 0,
        time,
        kind,
        process,
        f: f.to_owned(),
        value,
        error: None,
    });
}

/// A history as [`history`] reads it, for messages.
pub(crate) fn show(history: &History) -> String {
    let lines = history.events.iter().map(|event| {
        let kind = format!("{:?}", event.kind).to_lowercase();
        format!("{} {kind} {} {}\n", event.process, event.f, event.value)
    });
    lines.collect()
}

/// A value of `nil`, booleans, integers, words, keywords, lists and maps.
pub(crate) fn edn(text: &str) -> Value {
    let spaced = ["[", "]", "{", "}"]
        .iter()
        .fold(text.replace(',', " "), |text, sign| {
            text.replace(sign, &format!(" {sign} "))
        });
    let mut tokens = spaced.split_whitespace().peekable();
    let value = edn_value(&mut tokens);
    assert!(tokens.next().is_none(), "one value: {text}");
    value
}

type Tokens<'t> = std::iter::Peekable<std::str::SplitWhitespace<'t>>;

fn edn_value(tokens: &mut Tokens<'_>) -> Value {
    match tokens.next().expect("a value") {
        "[" => {
            let mut values = Vec::new();
            while tokens.next_if_eq(&"]").is_none() {
                values.push(edn_value(tokens));
            }
            Value::List(values)
        }
        "{" => {
            let mut members = Vec::new();
            while tokens.next_if_eq(&"}").is_none() {
                let name = tokens
                    .next()
                    .expect("a key")
                    .trim_start_matches(':')
                    .to_owned();
                members.push((name, edn_value(tokens)));
            }
            Value::Map(members)
        }
        "nil" => Value::Nil,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        word => match (word.parse(), word.strip_prefix(':')) {
            (Ok(number), _) => Value::Int(number),
            (_, Some(keyword)) => Value::keyword(keyword),
            _ => Value::Text(word.to_owned()),
        },
    }
}

/// What this thread has computed so far: unlike the clock on the wall it does not count the machine's other work.
pub(crate) fn computed() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    let nanos = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds"))
}

/// The names found, each once.
pub(crate) fn names(verdict: &Verdict) -> Vec<&str> {
    let mut names: Vec<&str> = verdict
        .anomalies
        .iter()
        .map(|anomaly| anomaly.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Fails unless the verdict is valid.
#[track_caller]
pub(crate) fn assert_valid(verdict: &Verdict) {
    assert_eq!(verdict.validity, Validity::Valid, "{verdict:#?}");
}

/// Fails unless just these names were found.
#[track_caller]
pub(crate) fn assert_names(verdict: &Verdict, expected: &[&str]) {
    assert_eq!(names(verdict), expected, "{verdict:#?}");
    assert_eq!(verdict.validity, Validity::Invalid);
}

/// The first anomaly of a name.
#[track_caller]
pub(crate) fn anomaly<'v>(verdict: &'v Verdict, name: &str) -> &'v Anomaly {
    verdict
        .anomalies
        .iter()
        .find(|anomaly| anomaly.name == name)
        .unwrap_or_else(|| panic!("no {name} in {verdict:#?}"))
}

/// Every order of `0..count`.
pub(crate) fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in orders(count - 1) {
        for at in 0..count {
            let mut order = shorter.clone();
            order.insert(at, count - 1);
            all.push(order);
        }
    }
    all
}

/// How the database in memory treats transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// One after the other, at one moment each.
    Serial,
    /// Reads may see any of the last states: wrong now and then.
    Stale,
    /// Each step of a transaction by itself, and rolled back steps may stay: wrong often.
    Torn,
}

/// Load on the database in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) seed: u64,
    pub(crate) transactions: usize,
    pub(crate) processes: u64,
    pub(crate) keys: i64,
    pub(crate) steps_max: usize,
    pub(crate) isolation: Isolation,
    /// Of a hundred transactions, how many fail and of how many nothing is known.
    pub(crate) fail_percent: u32,
    pub(crate) info_percent: u32,
    /// Registers that are overwritten instead of lists that grow.
    pub(crate) registers: bool,
    /// A read of all keys at the end.
    pub(crate) final_read: bool,
}

impl Load {
    pub(crate) fn lists(seed: u64, transactions: usize) -> Self {
        Self {
            seed,
            transactions,
            processes: 5,
            keys: 3,
            steps_max: 3,
            isolation: Isolation::Serial,
            fail_percent: 5,
            info_percent: 5,
            registers: false,
            final_read: true,
        }
    }

    /// The history of this load.
    pub(crate) fn run(self) -> History {
        Database::new(self).run()
    }
}

#[derive(Debug, Clone)]
enum Client {
    Idle,
    Invoked(Vec<Value>),
    /// Steps done, and those to come: only a torn database stops between them.
    Half(Vec<Value>, Vec<Value>),
    Applied(Vec<Value>, Kind),
}

/// What each key holds; shared between states until it changes.
type State = BTreeMap<i64, Rc<Value>>;

const STATES_REMEMBERED: usize = 4;

struct Database {
    load: Load,
    random: StdRng,
    states: Vec<State>,
    next_value: i64,
    history: History,
}

impl Database {
    fn new(load: Load) -> Self {
        Self {
            load,
            random: StdRng::seed_from_u64(load.seed),
            states: vec![BTreeMap::new()],
            next_value: 0,
            history: History::default(),
        }
    }

    fn run(mut self) -> History {
        let mut clients: Vec<(Process, Client)> = (0..self.load.processes)
            .map(|process| (process, Client::Idle))
            .collect();
        let mut next_process = self.load.processes;
        let mut left = self.load.transactions;
        while left > 0
            || clients
                .iter()
                .any(|(_, client)| !matches!(client, Client::Idle))
        {
            let at = self.random.random_range(0..clients.len());
            let (process, client) = clients[at].clone();
            clients[at].1 = match client {
                Client::Idle if left == 0 => Client::Idle,
                Client::Idle => {
                    left -= 1;
                    let steps = self.transaction();
                    push(
                        &mut self.history,
                        process,
                        Kind::Invoke,
                        "txn",
                        Value::List(steps.clone()),
                    );
                    Client::Invoked(steps)
                }
                Client::Invoked(steps) => self.apply(steps),
                Client::Half(mut done, mut rest) => {
                    let step = rest.remove(0);
                    done.push(self.step(&step));
                    if rest.is_empty() {
                        Client::Applied(done, Kind::Ok)
                    } else {
                        Client::Half(done, rest)
                    }
                }
                Client::Applied(steps, kind) => {
                    push(&mut self.history, process, kind, "txn", Value::List(steps));
                    if kind == Kind::Info {
                        clients[at].0 = next_process;
                        next_process += 1;
                    }
                    Client::Idle
                }
            };
        }
        if self.load.final_read {
            let steps: Vec<Value> = (0..self.load.keys)
                .map(|key| edn(&format!("[:r {key} nil]")))
                .collect();
            push(
                &mut self.history,
                next_process,
                Kind::Invoke,
                "txn",
                Value::List(steps.clone()),
            );
            let now = self.states.len() - 1;
            let seen = steps.iter().map(|step| self.read(step, now)).collect();
            push(
                &mut self.history,
                next_process,
                Kind::Ok,
                "txn",
                Value::List(seen),
            );
        }
        self.history
    }

    fn transaction(&mut self) -> Vec<Value> {
        let write = if self.load.registers { "w" } else { "append" };
        (0..self.random.random_range(1..=self.load.steps_max))
            .map(|_| {
                let key = self.random.random_range(0..self.load.keys);
                if self.random.random_bool(0.5) {
                    edn(&format!("[:r {key} nil]"))
                } else {
                    self.next_value += 1;
                    edn(&format!("[:{write} {key} {}]", self.next_value))
                }
            })
            .collect()
    }

    fn apply(&mut self, steps: Vec<Value>) -> Client {
        let luck = self.random.random_range(0..100);
        if luck < self.load.fail_percent {
            if self.load.isolation == Isolation::Torn && self.random.random_bool(0.5) {
                self.step(&steps[0]);
            }
            return Client::Applied(steps, Kind::Fail);
        }
        let unknown = luck < self.load.fail_percent + self.load.info_percent;
        if unknown && self.random.random_bool(0.5) {
            return Client::Applied(steps, Kind::Info);
        }
        if self.load.isolation == Isolation::Torn && !unknown {
            return Client::Half(Vec::new(), steps);
        }
        let mut now = self.states.last().expect("a state").clone();
        let mut seen = Vec::new();
        let old = match self.load.isolation {
            Isolation::Stale => self.random.random_range(0..self.states.len()),
            _ => self.states.len() - 1,
        };
        let mut snapshot = self.states[old].clone();
        for step in &steps {
            seen.push(Self::step_on(&mut snapshot, step));
            Self::step_on(&mut now, step);
        }
        self.remember(now);
        match unknown {
            true => Client::Applied(steps, Kind::Info),
            false => Client::Applied(seen, Kind::Ok),
        }
    }

    fn remember(&mut self, state: State) {
        self.states.push(state);
        if self.states.len() > STATES_REMEMBERED {
            self.states.remove(0);
        }
    }

    fn step(&mut self, step: &Value) -> Value {
        let mut now = self.states.last().expect("a state").clone();
        let seen = Self::step_on(&mut now, step);
        self.remember(now);
        seen
    }

    fn read(&self, step: &Value, state: usize) -> Value {
        Self::step_on(&mut self.states[state].clone(), step)
    }

    fn step_on(state: &mut State, step: &Value) -> Value {
        let [f, key, value] = step.as_list().expect("a step") else {
            panic!("{step} is no step")
        };
        let number = key.as_int().expect("a key");
        match f.as_word().expect("a word") {
            "append" => {
                let list = state
                    .entry(number)
                    .or_insert_with(|| Rc::new(Value::List(Vec::new())));
                if let Value::List(elements) = Rc::make_mut(list) {
                    elements.push(value.clone());
                }
                step.clone()
            }
            "w" => {
                state.insert(number, Rc::new(value.clone()));
                step.clone()
            }
            _ => Value::List(vec![
                f.clone(),
                key.clone(),
                state
                    .get(&number)
                    .map_or(Value::Nil, |value| (**value).clone()),
            ]),
        }
    }
}

/// A way to spoil a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    SwapInRead,
    DropTailOfRead,
    DuplicateInRead,
    EarlierCompletion,
    OkToFail,
    RelabelProcess,
}

pub(crate) const MUTATIONS: [Mutation; 6] = [
    Mutation::SwapInRead,
    Mutation::DropTailOfRead,
    Mutation::DuplicateInRead,
    Mutation::EarlierCompletion,
    Mutation::OkToFail,
    Mutation::RelabelProcess,
];

/// The history with one change, or `None` when it has no place for it. What comes may still be valid.
pub(crate) fn mutate(history: &History, mutation: Mutation, seed: u64) -> Option<History> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut changed = history.clone();
    match mutation {
        Mutation::SwapInRead => change_read(&mut changed, &mut random, 2, |list, random| {
            let at = random.random_range(0..list.len() - 1);
            list.swap(at, at + 1);
        })?,
        Mutation::DropTailOfRead => change_read(&mut changed, &mut random, 1, |list, random| {
            list.truncate(random.random_range(0..list.len()));
        })?,
        Mutation::DuplicateInRead => change_read(&mut changed, &mut random, 1, |list, random| {
            let at = random.random_range(0..list.len());
            list.push(list[at].clone());
        })?,
        Mutation::EarlierCompletion => {
            let at = pick(history, &mut random, |event| event.kind == Kind::Ok)?;
            let event = changed.events.remove(at);
            let invoke = changed.events[..at]
                .iter()
                .rposition(|other| other.process == event.process && other.kind == Kind::Invoke)?;
            changed.events.insert(invoke + 1, event);
        }
        Mutation::OkToFail => {
            let at = pick(history, &mut random, |event| event.kind == Kind::Ok)?;
            let process = changed.events[at].process;
            let invoke = changed.events[..at]
                .iter()
                .rposition(|other| other.process == process)?;
            changed.events[at].kind = Kind::Fail;
            changed.events[at].value = changed.events[invoke].value.clone();
        }
        Mutation::RelabelProcess => {
            let at = pick(history, &mut random, |event| event.kind == Kind::Invoke)?;
            let process = changed.events[at].process;
            let new = 1 + changed.events.iter().map(|event| event.process).max()?;
            let mut open = false;
            for event in &mut changed.events[at..] {
                if event.process == process && (event.kind == Kind::Invoke) == open {
                    if open {
                        break;
                    }
                } else if event.process == process {
                    open = event.kind == Kind::Invoke;
                    event.process = new;
                    if !open {
                        break;
                    }
                }
            }
        }
    }
    for (at, event) in changed.events.iter_mut().enumerate() {
        event.index = at as u64;
    }
    Some(changed)
}

fn pick(history: &History, random: &mut StdRng, fits: impl Fn(&Event) -> bool) -> Option<usize> {
    let places: Vec<usize> = (0..history.events.len())
        .filter(|at| fits(&history.events[*at]))
        .collect();
    places.choose(random).copied()
}

fn change_read(
    history: &mut History,
    random: &mut StdRng,
    length_min: usize,
    change: impl Fn(&mut Vec<Value>, &mut StdRng),
) -> Option<()> {
    let mut reads = Vec::new();
    for (at, event) in history
        .events
        .iter()
        .enumerate()
        .filter(|(_, event)| event.kind == Kind::Ok)
    {
        for (step, value) in event.value.as_list()?.iter().enumerate() {
            let [f, _, seen] = value.as_list()? else {
                return None;
            };
            if f.as_word() == Some("r")
                && seen.as_list().is_some_and(|list| list.len() >= length_min)
            {
                reads.push((at, step));
            }
        }
    }
    let &(at, step) = reads.choose(random)?;
    let Value::List(steps) = &mut history.events[at].value else {
        return None;
    };
    let Value::List(parts) = &mut steps[step] else {
        return None;
    };
    let Value::List(list) = &mut parts[2] else {
        return None;
    };
    change(list, random);
    Some(())
}
