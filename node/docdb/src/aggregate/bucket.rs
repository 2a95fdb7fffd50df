//! `$bucketAuto`: documents in the order of a value, cut into buckets of about the same size.

use bson::{RawBson, RawBsonRef, RawDocument};

use super::accumulator::States;
use super::chain::{Chain, Flow, Operator};
use super::resources::Resources;
use super::sorter::{Sorted, Sorter};
use super::stage::BucketAuto;
use crate::error::Result;
use crate::value::writer::Writer;
use crate::value::{encode_value, equal, malformed};

pub(super) struct Bucketing<'p> {
    spec: &'p BucketAuto,
    resources: &'p Resources<'p>,
    sorter: Option<Sorter<'p>>,
    count: u64,
    key: Vec<u8>,
}

impl<'p> Bucketing<'p> {
    pub(super) fn new(spec: &'p BucketAuto, resources: &'p Resources<'p>) -> Self {
        Self {
            spec,
            resources,
            sorter: Some(Sorter::new(resources, None)),
            count: 0,
            key: Vec::new(),
        }
    }

    fn value(&self, document: &RawDocument) -> Result<RawBson> {
        let value = self.spec.by.value(document)?.into_computed();
        Ok(value.unwrap_or(RawBson::Null))
    }

    /// The next document in order with its value, copied out of the sorter.
    fn next(&self, sorted: &mut Sorted<'_>) -> Result<Option<(RawBson, bson::RawDocumentBuf)>> {
        match sorted.next()? {
            None => Ok(None),
            Some(bytes) => {
                let document = RawDocument::from_bytes(bytes).map_err(malformed)?;
                Ok(Some((self.value(document)?, document.to_owned())))
            }
        }
    }
}

fn is_equal(a: &RawBson, b: &RawBson) -> bool {
    equal(a.as_raw_bson_ref(), b.as_raw_bson_ref())
}

impl Operator for Bucketing<'_> {
    fn push(&mut self, document: &RawDocument, _: &mut Chain<'_, '_>) -> Result<Flow> {
        self.key.clear();
        let value = self.spec.by.value(document)?;
        encode_value(
            value.get().unwrap_or(RawBsonRef::Null),
            false,
            &mut self.key,
        )?;
        self.count += 1;
        if let Some(sorter) = &mut self.sorter {
            sorter.push(&self.key, document.as_bytes())?;
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, next: &mut Chain<'_, '_>) -> Result<()> {
        let Some(sorter) = self.sorter.take() else {
            return Ok(());
        };
        let mut sorted = sorter.finish()?;
        let (total, buckets) = (self.count, self.spec.buckets);
        // Rounded to the nearest, at least one.
        let size = ((total * 2 + buckets) / (buckets * 2)).max(1);
        let mut out = Writer::default();
        let mut current = self.next(&mut sorted)?;
        let mut taken = 0;
        for bucket in 1.. {
            let Some((least, document)) = current.take() else {
                return Ok(());
            };
            let is_last = bucket == buckets;
            let mut states = States::new(&self.spec.fields);
            states.add(&self.spec.fields, &document)?;
            let mut most = least.clone();
            let mut held = 1;
            loop {
                taken += 1;
                self.resources.budget.check_time(taken)?;
                current = self.next(&mut sorted)?;
                let Some((value, document)) = &current else {
                    break;
                };
                // Equal values stay together.
                if held >= size && !is_last && !is_equal(value, &most) {
                    break;
                }
                states.add(&self.spec.fields, document)?;
                most = value.clone();
                held += 1;
            }
            let end = current.as_ref().map_or(&most, |(value, _)| value);
            out.begin();
            let id = out.open_document(b"_id");
            out.value(b"min", least.as_raw_bson_ref())?;
            out.value(b"max", end.as_raw_bson_ref())?;
            out.close(id)?;
            states.write(&self.spec.fields, &mut out)?;
            if next.push(out.finish()?)? == Flow::Enough {
                return Ok(());
            }
        }
        Ok(())
    }
}
