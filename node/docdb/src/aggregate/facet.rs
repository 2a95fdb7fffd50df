//! `$facet`: several pipelines over the same documents, their results as arrays of one document.

use bson::RawDocument;

use super::chain::{Chain, Flow, Link, Operator, Sink};
use super::engine::Engine;
use super::resources::Memory;
use super::stage::Stage;
use crate::error::Result;
use crate::value::element::DOCUMENT;
use crate::value::writer::{Writer, index_name};

pub(super) struct Faceting<'p> {
    facets: Vec<Facet<'p>>,
}

struct Facet<'p> {
    name: &'p str,
    links: Vec<Link<'p>>,
    gathered: Gathered<'p>,
    flow: Flow,
}

/// Documents as the elements of an array.
pub(super) struct Gathered<'p> {
    memory: Memory<'p>,
    /// The elements, without what stands around them.
    elements: Writer,
    count: usize,
}

impl<'p> Gathered<'p> {
    pub(super) fn new(memory: Memory<'p>) -> Self {
        Self {
            memory,
            elements: Writer::default(),
            count: 0,
        }
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.elements.truncate(0);
        self.count = 0;
        self.memory.clear();
    }

    /// Appends the array as an element.
    pub(super) fn write(&self, name: &[u8], out: &mut Writer) -> Result<()> {
        let start = out.open_array(name);
        out.raw(self.elements.bytes());
        out.close(start)
    }
}

impl Sink for Gathered<'_> {
    fn take(&mut self, document: &RawDocument) -> Result<Flow> {
        let mut digits = [0; 20];
        let name = index_name(self.count, &mut digits);
        self.memory
            .grow_or_refuse(document.as_bytes().len() + name.len() + 2)?;
        self.elements.element(DOCUMENT, name, document.as_bytes());
        self.count += 1;
        Ok(Flow::More)
    }
}

impl<'p> Faceting<'p> {
    pub(super) fn new(facets: &'p [(String, Vec<Stage>)], engine: &'p Engine<'p>) -> Result<Self> {
        let facets = facets.iter().map(|(name, stages)| {
            Ok(Facet {
                name,
                links: engine.links(stages)?,
                gathered: Gathered::new(Memory::new(engine.resources())),
                flow: Flow::More,
            })
        });
        Ok(Self {
            facets: facets.collect::<Result<_>>()?,
        })
    }
}

impl Operator for Faceting<'_> {
    fn push(&mut self, document: &RawDocument, _: &mut Chain<'_, '_>) -> Result<Flow> {
        let mut flow = Flow::Enough;
        for facet in &mut self.facets {
            if facet.flow == Flow::More {
                facet.flow = Chain::new(&mut facet.links, &mut facet.gathered).push(document)?;
            }
            if facet.flow == Flow::More {
                flow = Flow::More;
            }
        }
        Ok(flow)
    }

    fn finish(&mut self, next: &mut Chain<'_, '_>) -> Result<()> {
        let mut out = Writer::default();
        out.begin();
        for facet in &mut self.facets {
            Chain::new(&mut facet.links, &mut facet.gathered).finish()?;
            facet.gathered.write(facet.name.as_bytes(), &mut out)?;
        }
        next.push(out.finish()?).map(|_| ())
    }
}

/// `$unionWith`: the documents of another pipeline behind those that pass.
pub(super) struct Uniting<'p> {
    collection: &'p str,
    stages: &'p [Stage],
    engine: &'p Engine<'p>,
    flow: Flow,
}

impl<'p> Uniting<'p> {
    pub(super) fn new(collection: &'p str, stages: &'p [Stage], engine: &'p Engine<'p>) -> Self {
        Self {
            collection,
            stages,
            engine,
            flow: Flow::More,
        }
    }
}

impl Operator for Uniting<'_> {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        self.flow = next.push(document)?;
        Ok(self.flow)
    }

    fn finish(&mut self, next: &mut Chain<'_, '_>) -> Result<()> {
        if self.flow == Flow::Enough {
            return Ok(());
        }
        let collection = self.engine.collection(self.collection)?;
        self.engine
            .run(collection, self.stages, None, &mut Onward(next))
    }
}

/// A chain as the sink of another.
struct Onward<'c, 'l, 'p>(&'c mut Chain<'l, 'p>);

impl Sink for Onward<'_, '_, '_> {
    fn take(&mut self, document: &RawDocument) -> Result<Flow> {
        self.0.push(document)
    }
}
