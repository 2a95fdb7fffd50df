//! A backtracking machine that counts each step it takes, so that it stops at the same one on every replica.

use fancy_regex::Assertion;

use super::class::Chars;
use super::program::{Inst, One, Program};
use crate::limits::REGEX_FRAMES_MAX;

/// More steps or memory would be needed than there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

/// A position that is not remembered.
const UNSET: usize = usize::MAX;

/// What to do when nothing more fits.
enum Frame {
    /// Go on elsewhere.
    Resume { pc: usize, at: usize },
    /// Give one character back, down to a position, and go on.
    Fewer { pc: usize, at: usize, least: usize },
    /// Take one more character, of so many, and go on after the instruction.
    More { pc: usize, at: usize, left: usize },
    /// Forget a remembered position.
    Restore { slot: usize, old: usize },
}

pub(super) struct Machine<'a> {
    program: &'a Program,
    text: &'a str,
    slots: Vec<usize>,
    frames: Vec<Frame>,
    steps_left: u64,
}

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a Program, text: &'a str, steps_max: u64) -> Self {
        Self {
            program,
            text,
            slots: vec![UNSET; program.slots],
            frames: Vec::new(),
            steps_left: steps_max,
        }
    }

    pub(super) fn steps_left(&self) -> u64 {
        self.steps_left
    }

    /// Whether the text contains a match.
    pub(super) fn is_match(&mut self) -> Result<bool, Exhausted> {
        let first = self
            .program
            .instructions
            .iter()
            .find(|inst| !matches!(inst, Inst::Save(_)));
        let mut at = 0;
        loop {
            self.step(1)?;
            match first {
                Some(Inst::Assert(Assertion::StartText)) if at > 0 => return Ok(false),
                Some(Inst::One(One::Char(first))) => match self.text[at..].find(*first) {
                    Some(skipped) => {
                        self.step(skipped as u64)?;
                        at += skipped;
                    }
                    None => return Ok(false),
                },
                _ => {}
            }
            if self.run(0, at, UNSET)?.is_some() {
                return Ok(true);
            }
            match self.next_char(at) {
                Some(next) => at += next.len_utf8(),
                None => return Ok(false),
            }
        }
    }

    fn step(&mut self, steps: u64) -> Result<(), Exhausted> {
        match self.steps_left.checked_sub(steps) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => {
                self.steps_left = 0;
                Err(Exhausted)
            }
        }
    }

    fn push(&mut self, frame: Frame) -> Result<(), Exhausted> {
        if self.frames.len() >= REGEX_FRAMES_MAX {
            return Err(Exhausted);
        }
        self.frames.push(frame);
        Ok(())
    }

    fn next_char(&self, at: usize) -> Option<char> {
        self.text[at..].chars().next()
    }

    fn char_before(&self, at: usize) -> Option<char> {
        self.text[..at].chars().next_back()
    }

    /// The position after `one`.
    fn after(&self, one: &One, at: usize) -> Option<usize> {
        let next = self.next_char(at)?;
        let fits = match one {
            One::Char(only) => next == *only,
            One::Any { newline } => *newline || next != '\n',
            One::Class(class) => Chars::contains(class, next),
        };
        fits.then(|| at + next.len_utf8())
    }

    fn save(&mut self, slot: usize, at: usize) -> Result<(), Exhausted> {
        let old = std::mem::replace(&mut self.slots[slot], at);
        self.push(Frame::Restore { slot, old })
    }

    /// Runs up to the next `Done`, which must be reached at `end` if one is given, and returns where that is.
    /// Nothing stays to be tried; what was remembered stays, with what restores it. Recurses as deep as the
    /// pattern nests.
    fn run(
        &mut self,
        mut pc: usize,
        mut at: usize,
        end: usize,
    ) -> Result<Option<usize>, Exhausted> {
        let base = self.frames.len();
        let program = self.program;
        loop {
            self.step(1)?;
            let next = match &program.instructions[pc] {
                Inst::Done if end == UNSET || at == end => {
                    self.cut(base);
                    return Ok(Some(at));
                }
                Inst::Done => None,
                Inst::One(one) => self.after(one, at).map(|after| (pc + 1, after)),
                Inst::Repeat {
                    one,
                    min,
                    max,
                    greedy,
                } => self
                    .repeat(pc, one, at, (*min, *max), *greedy)?
                    .map(|after| (pc + 1, after)),
                Inst::Split(first, other) => {
                    self.push(Frame::Resume { pc: *other, at })?;
                    Some((*first, at))
                }
                Inst::Jump(to) => Some((*to, at)),
                Inst::Save(slot) => {
                    self.save(*slot, at)?;
                    Some((pc + 1, at))
                }
                Inst::IfEmpty(slot, to) if self.slots[*slot] == at => Some((*to, at)),
                Inst::IfEmpty(..) => Some((pc + 1, at)),
                Inst::Reference { group, ignore_case } => self
                    .reference(*group, *ignore_case, at)?
                    .map(|after| (pc + 1, after)),
                Inst::Assert(assertion) => self.holds(*assertion, at)?.then_some((pc + 1, at)),
                Inst::Atomic { next } => self.run(pc + 1, at, UNSET)?.map(|after| (*next, after)),
                Inst::Ahead { negated, next } => {
                    let before = self.frames.len();
                    let found = self.run(pc + 1, at, UNSET)?.is_some();
                    self.judge(before, found, *negated).then_some((*next, at))
                }
                Inst::Behind {
                    negated,
                    next,
                    min,
                    max,
                } => {
                    let before = self.frames.len();
                    let found = self.behind(pc + 1, at, (*min, *max))?;
                    self.judge(before, found, *negated).then_some((*next, at))
                }
                Inst::IfGroup(group, otherwise) => match self.slots[2 * group + 1] {
                    UNSET => Some((*otherwise, at)),
                    _ => Some((pc + 1, at)),
                },
                Inst::If { next, otherwise } => match self.run(pc + 1, at, UNSET)? {
                    Some(after) => Some((*next, after)),
                    None => Some((*otherwise, at)),
                },
            };
            match next {
                Some(next) => (pc, at) = next,
                None => match self.back(base)? {
                    Some(next) => (pc, at) = next,
                    None => return Ok(None),
                },
            }
        }
    }

    /// Whether a look-around holds. What a negated one remembered is forgotten.
    fn judge(&mut self, before: usize, found: bool, negated: bool) -> bool {
        if negated {
            while self.frames.len() > before {
                self.undo();
            }
        }
        found != negated
    }

    fn undo(&mut self) {
        if let Some(Frame::Restore { slot, old }) = self.frames.pop() {
            self.slots[slot] = old;
        }
    }

    /// Drops what could still be tried since `base`, but not what restores.
    fn cut(&mut self, base: usize) {
        let mut kept = base;
        for at in base..self.frames.len() {
            if matches!(self.frames[at], Frame::Restore { .. }) {
                self.frames.swap(kept, at);
                kept += 1;
            }
        }
        self.frames.truncate(kept);
    }

    /// The next thing to try since `base`.
    fn back(&mut self, base: usize) -> Result<Option<(usize, usize)>, Exhausted> {
        while self.frames.len() > base {
            self.step(1)?;
            match self.frames.pop() {
                None => break,
                Some(Frame::Restore { slot, old }) => self.slots[slot] = old,
                Some(Frame::Resume { pc, at }) => return Ok(Some((pc, at))),
                Some(Frame::Fewer { pc, at, least }) => {
                    let at = at - self.char_before(at).map_or(0, char::len_utf8);
                    if at > least {
                        self.frames.push(Frame::Fewer { pc, at, least });
                    }
                    return Ok(Some((pc, at)));
                }
                Some(Frame::More { pc, at, left }) => {
                    let Inst::Repeat { one, .. } = &self.program.instructions[pc] else {
                        continue;
                    };
                    if let Some(at) = self.after(one, at) {
                        if left > 1 {
                            let left = left - 1;
                            self.frames.push(Frame::More { pc, at, left });
                        }
                        return Ok(Some((pc + 1, at)));
                    }
                }
            }
        }
        Ok(None)
    }

    fn repeat(
        &mut self,
        pc: usize,
        one: &One,
        mut at: usize,
        (min, max): (usize, usize),
        greedy: bool,
    ) -> Result<Option<usize>, Exhausted> {
        let mut taken = 0;
        while taken < min {
            self.step(1)?;
            match self.after(one, at) {
                Some(after) => (taken, at) = (taken + 1, after),
                None => return Ok(None),
            }
        }
        let least = at;
        if !greedy {
            if taken < max {
                let left = max - taken;
                self.push(Frame::More { pc, at, left })?;
            }
            return Ok(Some(at));
        }
        while taken < max {
            self.step(1)?;
            match self.after(one, at) {
                Some(after) => (taken, at) = (taken + 1, after),
                None => break,
            }
        }
        if at > least {
            let pc = pc + 1;
            self.push(Frame::Fewer { pc, at, least })?;
        }
        Ok(Some(at))
    }

    /// The position after the text of a group; nothing follows a group that has not matched.
    fn reference(
        &mut self,
        group: usize,
        ignore_case: bool,
        at: usize,
    ) -> Result<Option<usize>, Exhausted> {
        let (start, end) = (self.slots[2 * group], self.slots[2 * group + 1]);
        if start == UNSET || end == UNSET || start > end {
            return Ok(None);
        }
        self.step((end - start) as u64)?;
        let (wanted, rest) = (&self.text[start..end], &self.text[at..]);
        if !ignore_case {
            return Ok(rest.starts_with(wanted).then(|| at + wanted.len()));
        }
        let mut found = rest.chars();
        for wanted in wanted.chars() {
            match found.next() {
                Some(next) if next == wanted || folds_to(wanted, next) => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(self.text.len() - found.as_str().len()))
    }

    /// Whether the instructions at `pc` match something that ends at `at`.
    fn behind(
        &mut self,
        pc: usize,
        at: usize,
        (min, max): (usize, usize),
    ) -> Result<bool, Exhausted> {
        let mut start = at;
        let mut chars = 0;
        loop {
            if chars >= min && self.run(pc, start, at)?.is_some() {
                return Ok(true);
            }
            self.step(1)?;
            match self.char_before(start) {
                Some(before) if chars < max => start -= before.len_utf8(),
                _ => return Ok(false),
            }
            chars += 1;
        }
    }

    fn holds(&mut self, assertion: Assertion, at: usize) -> Result<bool, Exhausted> {
        let bytes = self.text.as_bytes();
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let next = bytes.get(at).copied();
        let is_word = |byte: Option<u8>| {
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let (left, right) = (is_word(before), is_word(next));
        Ok(match assertion {
            Assertion::StartText => before.is_none(),
            Assertion::EndText => next.is_none(),
            Assertion::EndTextIgnoreTrailingNewlines { crlf } => {
                let newlines = bytes[at..]
                    .iter()
                    .take_while(|byte| **byte == b'\n' || (crlf && **byte == b'\r'))
                    .count();
                self.step(newlines as u64)?;
                at + newlines == bytes.len()
            }
            Assertion::StartLine { crlf } | Assertion::StartLineOniguruma { crlf } => {
                match before {
                    None | Some(b'\n') => true,
                    Some(b'\r') => crlf && next != Some(b'\n'),
                    Some(_) => false,
                }
            }
            Assertion::EndLine { crlf } => match next {
                None => true,
                Some(b'\n') => !crlf || before != Some(b'\r'),
                Some(b'\r') => crlf,
                Some(_) => false,
            },
            Assertion::WordBoundary => left != right,
            Assertion::NotWordBoundary => left == right,
            Assertion::LeftWordBoundary => !left && right,
            Assertion::RightWordBoundary => left && !right,
            Assertion::LeftWordHalfBoundary => !left,
            Assertion::RightWordHalfBoundary => !right,
        })
    }
}

/// Whether two different characters are the same but for their case.
fn folds_to(wanted: char, found: char) -> bool {
    if wanted.is_ascii() && found.is_ascii() {
        return wanted.eq_ignore_ascii_case(&found);
    }
    let class = super::class::folded(wanted);
    let mut ranges = class.ranges().iter();
    ranges.any(|range| (range.start()..=range.end()).contains(&found))
}
