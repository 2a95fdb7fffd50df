//! Buckets: the environments that the key opens. They are made and removed with `yunbase env`, not here.

use s3s::dto::{
    Bucket, GetBucketLocationOutput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, Owner,
};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::auth::Asked;
use super::door::{REGION, S3Door};
use super::moment;
use crate::cluster::map::ClusterMap;

/// Most buckets of one page of their list, as in S3.
const BUCKETS_MAX: usize = 10_000;

impl S3Door {
    /// ListBuckets: those that the key opens.
    pub(super) fn list_buckets_of(
        &self,
        asked: &Asked,
        input: ListBucketsInput,
    ) -> S3Result<ListBucketsOutput> {
        let wanted = input.max_buckets.map_or(Ok(BUCKETS_MAX), usize::try_from);
        let limit = match wanted {
            Ok(limit @ 1..) => limit.min(BUCKETS_MAX),
            _ => {
                return Err(s3_error!(
                    InvalidArgument,
                    "a page of buckets has at least one"
                ));
            }
        };
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.unwrap_or_default();
        let (buckets, next) = page(&self.map.get(), asked, &prefix, &after, limit);
        let owner = asked.env.clone().unwrap_or_else(|| "yunbase".to_owned());
        Ok(ListBucketsOutput {
            buckets: Some(buckets),
            continuation_token: next,
            owner: Some(Owner {
                display_name: Some(owner.clone()),
                id: Some(owner),
            }),
            prefix: Some(prefix).filter(|prefix| !prefix.is_empty()),
        })
    }

    /// CreateBucket: the bucket is there already, or is made in another way.
    pub(super) async fn creation(&self, asked: &Asked, bucket: &str) -> S3Error {
        match self.keyring.check_bucket(asked, bucket).await {
            Ok(()) => s3_error!(
                BucketAlreadyOwnedByYou,
                "the bucket is the environment `{bucket}`, which is there"
            ),
            Err(error) if *error.code() == S3ErrorCode::NoSuchBucket => {
                by_command("create", bucket)
            }
            Err(error) => error,
        }
    }
}

/// HeadBucket, of a bucket that is there: the check before each operation has found it.
pub(super) fn head() -> HeadBucketOutput {
    HeadBucketOutput {
        bucket_region: Some(REGION.to_owned()),
        ..HeadBucketOutput::default()
    }
}

/// GetBucketLocation: the region whose name is not told.
pub(super) fn location() -> GetBucketLocationOutput {
    GetBucketLocationOutput {
        location_constraint: None,
    }
}

/// Buckets are not made and removed over S3: an environment is more than its files.
pub(super) fn by_command(what: &str, bucket: &str) -> S3Error {
    s3_error!(
        MethodNotAllowed,
        "a bucket is an environment: use `yunbase env {what} {bucket}`"
    )
}

fn page(
    map: &ClusterMap,
    asked: &Asked,
    prefix: &str,
    after: &str,
    limit: usize,
) -> (Vec<Bucket>, Option<String>) {
    let mut names = map
        .environments
        .keys()
        .filter(|name| asked.opens(name) && name.starts_with(prefix) && name.as_str() > after);
    let bucket = |name: &String| Bucket {
        bucket_region: Some(REGION.to_owned()),
        creation_date: map
            .environments_made_at_ms
            .get(name)
            .map(|made| moment::of_ms(*made)),
        name: Some(name.clone()),
    };
    let buckets: Vec<Bucket> = names.by_ref().take(limit).map(bucket).collect();
    let next = names.next().and_then(|_| buckets.last()?.name.clone());
    (buckets, next)
}

#[cfg(test)]
mod tests {
    use yunbase_consensus::GroupId;

    use super::*;

    fn names(
        env: Option<&str>,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> (Vec<String>, Option<String>) {
        let mut map = ClusterMap::default();
        for name in ["demo", "lab", "lab-2"] {
            map.environments.insert(name.to_owned(), GroupId(1));
            map.environments_made_at_ms.insert(name.to_owned(), 1);
        }
        let asked = Asked {
            env: env.map(str::to_owned),
            request_id: "r".to_owned(),
        };
        let (buckets, next) = page(&map, &asked, prefix, after, limit);
        assert!(buckets.iter().all(|bucket| bucket.creation_date.is_some()));
        let names = buckets.into_iter().filter_map(|bucket| bucket.name);
        (names.collect(), next)
    }

    #[test]
    fn a_key_sees_the_buckets_that_it_opens() {
        let all = names(None, "", "", 10);
        assert_eq!(
            all,
            (vec!["demo".into(), "lab".into(), "lab-2".into()], None)
        );
        assert_eq!(names(Some("lab"), "", "", 10), (vec!["lab".into()], None));
        assert_eq!(names(Some("gone"), "", "", 10), (Vec::new(), None));
    }

    #[test]
    fn buckets_come_in_pages() {
        let first = names(None, "", "", 2);
        assert_eq!(
            first,
            (vec!["demo".into(), "lab".into()], Some("lab".into()))
        );
        assert_eq!(names(None, "", "lab", 2), (vec!["lab-2".into()], None));
        assert_eq!(
            names(None, "lab", "", 9),
            (vec!["lab".into(), "lab-2".into()], None)
        );
    }
}
