//! What an expression computed, borrowed from the document where it stands there as it is.

use bson::{RawBson, RawBsonRef};

use super::Computed;

/// A value, or nothing.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    /// A missing field.
    Missing,
    /// Part of the document or of the expression.
    Borrowed(RawBsonRef<'a>),
    /// Made by an operator.
    Owned(RawBson),
}

impl Value<'_> {
    /// The value, where there is one.
    pub(crate) fn get(&self) -> Option<RawBsonRef<'_>> {
        match self {
            Self::Missing => None,
            Self::Borrowed(value) => Some(*value),
            Self::Owned(value) => Some(value.as_raw_bson_ref()),
        }
    }

    /// The value on its own.
    pub(crate) fn into_computed(self) -> Computed {
        match self {
            Self::Missing => None,
            Self::Borrowed(value) => Some(value.into()),
            Self::Owned(value) => Some(value),
        }
    }
}

impl From<Computed> for Value<'_> {
    fn from(computed: Computed) -> Self {
        computed.map_or(Self::Missing, Self::Owned)
    }
}
