//! Patterns with look-around or references, as instructions of a backtracking machine (`machine`).

use std::collections::HashMap;
use std::sync::Arc;

use fancy_regex::{Assertion, Expr, LookAround};

use super::class::{Chars, class_of, folded};
use super::length::lengths;
use crate::limits::REGEX_COMPILED_BYTES_MAX;

/// Most instructions, and most expressions visited to make them: repetitions are written out.
const INSTRUCTIONS_MAX: usize = REGEX_COMPILED_BYTES_MAX / size_of::<Inst>();

/// One character.
#[derive(Debug, Clone)]
pub(super) enum One {
    Char(char),
    /// Any but a line feed, or any at all.
    Any {
        newline: bool,
    },
    Class(Arc<Chars>),
}

/// Addresses are positions in the program.
#[derive(Debug, Clone)]
pub(super) enum Inst {
    One(One),
    /// The character as often as possible, or as rarely.
    Repeat {
        one: One,
        min: usize,
        max: usize,
        greedy: bool,
    },
    /// First the one, then the other.
    Split(usize, usize),
    Jump(usize),
    /// Remembers the position.
    Save(usize),
    /// Goes to the address when nothing was consumed since the position was remembered.
    IfEmpty(usize, usize),
    /// The text of a group again.
    Reference {
        group: usize,
        ignore_case: bool,
    },
    Assert(Assertion),
    /// What follows up to its `Done` must match here, and is then not tried otherwise.
    Atomic {
        next: usize,
    },
    /// The same, without consuming.
    Ahead {
        negated: bool,
        next: usize,
    },
    /// The same, ending here and beginning so many characters before.
    Behind {
        negated: bool,
        next: usize,
        min: usize,
        max: usize,
    },
    /// Whether the group has matched, or what follows up to its `Done` matches; otherwise goes to the address.
    IfGroup(usize, usize),
    If {
        next: usize,
        otherwise: usize,
    },
    /// The end of the whole, or of one of the above.
    Done,
}

/// Why there is no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "with its repetitions written out it has more than {INSTRUCTIONS_MAX} instructions; repeat less"
    )]
    TooLarge,
    #[error("{0} is not supported")]
    Unsupported(String),
    #[error("the class {0} is unknown or malformed")]
    Class(String),
    #[error("it refers to group {0}, which it does not have")]
    Group(usize),
}

fn unsupported(what: &str) -> Refusal {
    Refusal::Unsupported(what.to_owned())
}

/// Instructions, and how many positions they remember.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) instructions: Vec<Inst>,
    pub(super) slots: usize,
}

impl Program {
    pub(super) fn new(expr: &Expr) -> Result<Self, Refusal> {
        let groups = groups_in(expr);
        let refers = expr.has_descendant_or_self(|part| {
            matches!(
                part,
                Expr::Backref { .. } | Expr::BackrefExistsCondition { .. }
            )
        });
        let mut compiler = Compiler {
            instructions: Vec::new(),
            slots: 2 * groups,
            groups,
            refers,
            next_group: 0,
            visited: 0,
            classes: HashMap::new(),
        };
        compiler.expr(expr)?;
        compiler.emit(Inst::Done)?;
        Ok(Self {
            instructions: compiler.instructions,
            slots: compiler.slots,
        })
    }
}

fn groups_in(expr: &Expr) -> usize {
    let own = usize::from(matches!(expr, Expr::Group(_)));
    expr.children_iter().map(groups_in).sum::<usize>() + own
}

struct Compiler {
    instructions: Vec<Inst>,
    slots: usize,
    groups: usize,
    /// Whether what groups have matched is of interest.
    refers: bool,
    /// Groups are numbered as they open.
    next_group: usize,
    visited: usize,
    classes: HashMap<(String, bool), Arc<Chars>>,
}

impl Compiler {
    fn here(&self) -> usize {
        self.instructions.len()
    }

    /// Adds an instruction and returns its address.
    fn emit(&mut self, inst: Inst) -> Result<usize, Refusal> {
        if self.here() >= INSTRUCTIONS_MAX {
            return Err(Refusal::TooLarge);
        }
        self.instructions.push(inst);
        Ok(self.here() - 1)
    }

    /// Adds a place for an instruction that names addresses not yet known.
    fn reserve(&mut self) -> Result<usize, Refusal> {
        self.emit(Inst::Done)
    }

    fn expr(&mut self, expr: &Expr) -> Result<(), Refusal> {
        self.visited += 1;
        if self.visited > INSTRUCTIONS_MAX {
            return Err(Refusal::TooLarge);
        }
        match expr {
            Expr::Empty | Expr::KeepOut => {}
            Expr::Assertion(assertion) => {
                self.emit(Inst::Assert(*assertion))?;
            }
            // The only search begins at the beginning.
            Expr::ContinueFromPreviousMatchEnd => {
                self.emit(Inst::Assert(Assertion::StartText))?;
            }
            Expr::Literal { val, casei } => {
                for each in val.chars() {
                    let one = self.literal(each, *casei);
                    self.emit(Inst::One(one))?;
                }
            }
            Expr::Any { .. } | Expr::Delegate { .. } => {
                if let Some(one) = self.one(expr)? {
                    self.emit(Inst::One(one))?;
                }
            }
            Expr::GeneralNewline { .. } => self.general_newline()?,
            Expr::Concat(parts) => parts.iter().try_for_each(|part| self.expr(part))?,
            Expr::Alt(parts) => self.alternatives(parts)?,
            Expr::Group(inner) if !self.refers => {
                self.expr(inner)?;
            }
            Expr::Group(inner) => {
                let slot = 2 * self.next_group;
                self.next_group += 1;
                self.emit(Inst::Save(slot))?;
                self.expr(inner)?;
                self.emit(Inst::Save(slot + 1))?;
            }
            Expr::Repeat {
                child,
                lo,
                hi,
                greedy,
            } => self.repeat(child, *lo, *hi, *greedy)?,
            Expr::Backref { group, casei } => {
                let group = self.group(*group)?;
                self.emit(Inst::Reference {
                    group,
                    ignore_case: *casei,
                })?;
            }
            Expr::AtomicGroup(inner) => {
                self.inside(inner, |next| Inst::Atomic { next })?;
            }
            Expr::LookAround(inner, kind) => self.look_around(inner, *kind)?,
            Expr::Conditional {
                condition,
                true_branch,
                false_branch,
            } => self.conditional(condition, true_branch, false_branch)?,
            Expr::BackrefExistsCondition { .. } => {
                return Err(unsupported("a condition on a level of recursion"));
            }
            Expr::SubroutineCall(_) | Expr::DefineGroup { .. } => {
                return Err(unsupported("a call of a group"));
            }
            Expr::BackrefWithRelativeRecursionLevel { .. } => {
                return Err(unsupported("a reference to a level of recursion"));
            }
            Expr::BacktrackingControlVerb(_) => {
                return Err(unsupported("a backtracking verb such as (*SKIP)"));
            }
            Expr::Absent(_) => return Err(unsupported("an absent operator (?~")),
            Expr::LiteralBytes { .. } | Expr::AstNode(..) => {
                return Err(unsupported("a literal of raw bytes"));
            }
        }
        Ok(())
    }

    /// The position of a group among all, which patterns number from one.
    fn group(&self, number: usize) -> Result<usize, Refusal> {
        number
            .checked_sub(1)
            .filter(|group| *group < self.groups)
            .ok_or(Refusal::Group(number))
    }

    fn literal(&mut self, each: char, ignore_case: bool) -> One {
        if !ignore_case {
            return One::Char(each);
        }
        let class = self.classes.entry((each.to_string(), true));
        One::Class(Arc::clone(
            class.or_insert_with(|| Arc::new(Chars::from(folded(each)))),
        ))
    }

    /// The expression as one character; `None` when it may be more or less.
    fn one(&mut self, expr: &Expr) -> Result<Option<One>, Refusal> {
        Ok(Some(match expr {
            Expr::Any { newline: true, .. } => One::Any { newline: true },
            Expr::Any { crlf: false, .. } => One::Any { newline: false },
            Expr::Any { crlf: true, .. } => self.class(r"[^\r\n]", false)?,
            Expr::Delegate { inner, casei } => self.class(inner, *casei)?,
            Expr::Literal { val, casei } => {
                let mut chars = val.chars();
                match (chars.next(), chars.next()) {
                    (Some(only), None) => self.literal(only, *casei),
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        }))
    }

    fn class(&mut self, written: &str, ignore_case: bool) -> Result<One, Refusal> {
        // A key that no single character has.
        let key = (format!("[{written}"), ignore_case);
        if let Some(class) = self.classes.get(&key) {
            return Ok(One::Class(Arc::clone(class)));
        }
        let class = class_of(written, ignore_case)
            .ok_or_else(|| Refusal::Class(written.chars().take(60).collect()))?;
        let class = Arc::new(Chars::from(class));
        self.classes.insert(key, Arc::clone(&class));
        Ok(One::Class(class))
    }

    fn alternatives(&mut self, parts: &[Expr]) -> Result<(), Refusal> {
        let mut jumps = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate() {
            if number + 1 == parts.len() {
                self.expr(part)?;
            } else {
                let split = self.reserve()?;
                self.expr(part)?;
                jumps.push(self.reserve()?);
                self.instructions[split] = Inst::Split(split + 1, self.here());
            }
        }
        let end = self.here();
        for jump in jumps {
            self.instructions[jump] = Inst::Jump(end);
        }
        Ok(())
    }

    fn repeat(&mut self, child: &Expr, lo: usize, hi: usize, greedy: bool) -> Result<(), Refusal> {
        let first_group = self.next_group;
        if let Some(one) = self.one(child)? {
            self.emit(Inst::Repeat {
                one,
                min: lo,
                max: hi,
                greedy,
            })?;
            return Ok(());
        }
        let split = |first: usize, other: usize| match greedy {
            true => Inst::Split(first, other),
            false => Inst::Split(other, first),
        };
        for _ in 0..lo {
            self.next_group = first_group;
            self.expr(child)?;
        }
        if hi == usize::MAX {
            self.next_group = first_group;
            let entry = self.reserve()?;
            if lengths(child).0 == 0 {
                let slot = self.slots;
                self.slots += 1;
                self.emit(Inst::Save(slot))?;
                self.expr(child)?;
                let check = self.here();
                self.emit(Inst::IfEmpty(slot, check + 2))?;
            } else {
                self.expr(child)?;
            }
            self.emit(Inst::Jump(entry))?;
            self.instructions[entry] = split(entry + 1, self.here());
        } else {
            let mut exits = Vec::new();
            for _ in lo..hi {
                self.next_group = first_group;
                exits.push(self.reserve()?);
                self.expr(child)?;
            }
            let end = self.here();
            for exit in exits {
                self.instructions[exit] = split(exit + 1, end);
            }
        }
        self.next_group = first_group + groups_in(child);
        Ok(())
    }

    /// An instruction about what follows it up to `Done`; it is told the address after that.
    fn inside(&mut self, inner: &Expr, make: impl Fn(usize) -> Inst) -> Result<usize, Refusal> {
        let at = self.reserve()?;
        self.expr(inner)?;
        self.emit(Inst::Done)?;
        self.instructions[at] = make(self.here());
        Ok(at)
    }

    fn look_around(&mut self, inner: &Expr, kind: LookAround) -> Result<(), Refusal> {
        let negated = matches!(kind, LookAround::LookAheadNeg | LookAround::LookBehindNeg);
        let (min, max) = lengths(inner);
        self.inside(inner, |next| match kind {
            LookAround::LookAhead | LookAround::LookAheadNeg => Inst::Ahead { negated, next },
            LookAround::LookBehind | LookAround::LookBehindNeg => Inst::Behind {
                negated,
                next,
                min,
                max,
            },
        })?;
        Ok(())
    }

    fn conditional(&mut self, condition: &Expr, yes: &Expr, no: &Expr) -> Result<(), Refusal> {
        let (at, group) = match condition {
            Expr::BackrefExistsCondition {
                group,
                relative_recursion_level: None,
            } => (self.reserve()?, Some(self.group(*group)?)),
            condition => {
                let at = self.inside(condition, |next| Inst::If { next, otherwise: 0 })?;
                (at, None)
            }
        };
        self.expr(yes)?;
        let jump = self.reserve()?;
        let otherwise = self.here();
        self.instructions[at] = match (group, &self.instructions[at]) {
            (Some(group), _) => Inst::IfGroup(group, otherwise),
            (None, Inst::If { next, .. }) => Inst::If {
                next: *next,
                otherwise,
            },
            (None, other) => other.clone(),
        };
        self.expr(no)?;
        self.instructions[jump] = Inst::Jump(self.here());
        Ok(())
    }

    /// `\R`: a line's end, both its characters if there are two.
    fn general_newline(&mut self) -> Result<(), Refusal> {
        let two = Expr::Literal {
            val: "\r\n".to_owned(),
            casei: false,
        };
        let one = Expr::Delegate {
            inner: r"[\n\x0b\x0c\r\x{85}\x{2028}\x{2029}]".to_owned(),
            casei: false,
        };
        self.expr(&Expr::AtomicGroup(Box::new(Expr::Alt(vec![two, one]))))
    }
}
