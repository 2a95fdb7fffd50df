//! Small random patterns and texts: both matchers come to what another engine comes to.

#![allow(clippy::unwrap_used)]

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{Matcher, Pattern};

const PATTERNS: usize = 6000;
const TEXTS_PER_PATTERN: usize = 12;

const ATOMS: [&str; 16] = [
    "a", "b", "ab", "é", ".", "[ab]", "[^a]", "^", "$", r"\b", r"\B", r"\w", "A", r"\z", "(?i:é)",
    "(?i:b)",
];
const QUANTIFIERS: [&str; 12] = [
    "*", "+", "?", "{2}", "{1,2}", "{0,1}", "{1,}", "*?", "+?", "??", "*+", "{2,3}?",
];
const OPENINGS: [&str; 9] = ["(", "(", "(?:", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"];

struct Generator {
    random: StdRng,
    /// Groups that are closed, which may be referred to.
    groups: usize,
    open: usize,
}

impl Generator {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.choose(&mut self.random).unwrap()
    }

    fn pattern(&mut self, depth: usize) -> String {
        let mut out = String::new();
        for number in 0..self.random.random_range(1..=3) {
            if number > 0 && self.random.random_ratio(1, 3) {
                out.push('|');
            }
            let choice = self.random.random_range(0..10);
            if depth > 0 && choice < 4 {
                let opening = self.pick(&OPENINGS);
                if opening == "(" {
                    self.open += 1;
                }
                out.push_str(opening);
                out.push_str(&self.pattern(depth - 1));
                out.push(')');
                if opening == "(" {
                    self.open -= 1;
                    self.groups += 1;
                }
            } else if self.groups > 0 && self.open == 0 && choice == 4 {
                let group = self.random.random_range(1..=self.groups);
                out.push_str(&format!("(?:\\{group})"));
            } else {
                out.push_str(self.pick(&ATOMS));
            }
            if self.random.random_ratio(1, 3) {
                out.push_str(self.pick(&QUANTIFIERS));
            }
        }
        out
    }

    fn text(&mut self) -> String {
        let length = self.random.random_range(0..9);
        (0..length)
            .map(|_| {
                *['a', 'b', 'A', 'a', 'b', '\n', ' ']
                    .choose(&mut self.random)
                    .unwrap()
            })
            .collect()
    }
}

#[test]
fn matches_what_another_engine_matches() {
    let mut generator = Generator {
        random: StdRng::seed_from_u64(7),
        groups: 0,
        open: 0,
    };
    let (mut linear, mut backtracking, mut matched, mut compared) = (0, 0, 0, 0);
    for _ in 0..PATTERNS {
        generator.groups = 0;
        let written = generator.pattern(3);
        let Ok(other) = fancy_regex::Regex::new(&written) else {
            continue;
        };
        let Ok(pattern) = Pattern::compile(&written, "") else {
            panic!("{written:?} is refused");
        };
        match pattern.matcher {
            Matcher::Linear(_) => linear += 1,
            Matcher::Backtracking(_) => backtracking += 1,
        }
        for _ in 0..TEXTS_PER_PATTERN {
            let text = generator.text();
            let Ok(expected) = other.is_match(text.as_str()) else {
                continue;
            };
            let found = pattern.matches_text(&text).unwrap();
            assert_eq!(found, expected, "{written:?} on {text:?}");
            compared += 1;
            matched += usize::from(found);
        }
    }
    assert!(linear > 1000, "{linear}");
    assert!(backtracking > 1000, "{backtracking}");
    assert!(
        (compared / 5..compared / 5 * 4).contains(&matched),
        "{matched} of {compared}"
    );
}
