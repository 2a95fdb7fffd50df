//! Where mingo is known to differ from MongoDB.

use super::Case;
use super::oracle::Answer;

/// The name of the listed reason for a difference.
pub fn explain(_case: &Case, _theirs: &Answer) -> Option<&'static str> {
    None
}
