//! Operators one behind the other, through which documents are pushed.

use bson::RawDocument;

use crate::error::Result;

/// Whether more documents are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    More,
    Enough,
}

/// One stage at work.
pub(super) trait Operator {
    /// Takes one document and pushes what becomes of it.
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow>;

    /// The input has ended: pushes what was held back.
    fn finish(&mut self, _next: &mut Chain<'_, '_>) -> Result<()> {
        Ok(())
    }
}

/// Where documents go that have passed all operators.
pub(super) trait Sink {
    fn take(&mut self, document: &RawDocument) -> Result<Flow>;
}

/// An operator with what is told about it.
pub(super) struct Link<'p> {
    pub(super) name: &'static str,
    pub(super) operator: Box<dyn Operator + 'p>,
    /// Documents that it took.
    pub(super) taken: u64,
}

impl<'p> Link<'p> {
    pub(super) fn new(name: &'static str, operator: impl Operator + 'p) -> Self {
        Self {
            name,
            operator: Box::new(operator),
            taken: 0,
        }
    }
}

/// The operators that are still to be passed, and the sink.
pub(super) struct Chain<'c, 'p> {
    links: &'c mut [Link<'p>],
    sink: &'c mut dyn Sink,
}

impl<'c, 'p> Chain<'c, 'p> {
    pub(super) fn new(links: &'c mut [Link<'p>], sink: &'c mut dyn Sink) -> Self {
        Self { links, sink }
    }

    pub(super) fn push(&mut self, document: &RawDocument) -> Result<Flow> {
        match self.links.split_first_mut() {
            None => self.sink.take(document),
            Some((first, rest)) => {
                first.taken += 1;
                let mut next = Chain::new(rest, &mut *self.sink);
                first.operator.push(document, &mut next)
            }
        }
    }

    /// Ends the input of all operators in turn.
    pub(super) fn finish(&mut self) -> Result<()> {
        let mut links = &mut *self.links;
        while let Some((first, rest)) = links.split_first_mut() {
            first
                .operator
                .finish(&mut Chain::new(&mut *rest, &mut *self.sink))?;
            links = rest;
        }
        Ok(())
    }
}
