//! How rows are read: each format, its limits, and what is wrong with a row.

use std::io::{BufReader, Cursor, Seek, SeekFrom};

use bson::doc;

use super::*;

fn options(format: Option<Format>) -> RowsOptions {
    RowsOptions {
        format,
        ..RowsOptions::default()
    }
}

/// A row with its document decoded.
#[derive(Debug)]
struct Read {
    number: u64,
    document: Result<Document, String>,
    text: String,
    end_offset: u64,
}

fn read(row: Row) -> Read {
    let decode = |bytes: Bytes| Document::from_reader(&*bytes).unwrap();
    Read {
        number: row.number,
        document: row.document.map(decode),
        text: row.text,
        end_offset: row.end_offset,
    }
}

/// Reads with a tiny buffer, so that each boundary falls everywhere.
fn rows_of(bytes: &[u8], options: RowsOptions) -> Vec<Read> {
    let reader = BufReader::with_capacity(3, Cursor::new(bytes.to_vec()));
    Rows::new(reader, options, Arc::from("c"), Place::default())
        .unwrap()
        .map(|row| read(row.unwrap()))
        .collect()
}

fn rows(text: &str, options: RowsOptions) -> Vec<Read> {
    rows_of(text.as_bytes(), options)
}

fn documents(text: &str, format: Option<Format>) -> Vec<Result<Document, String>> {
    rows(text, options(format))
        .into_iter()
        .map(|row| row.document)
        .collect()
}

#[test]
fn json_lines_with_blank_and_bad_ones() {
    let rows = rows(
        "{\"a\":1}\n\n  {\"a\":2}\r\nnonsense\n[1]\n{\"a\":3}",
        options(Some(Format::Jsonl)),
    );
    let good: Vec<_> = rows
        .iter()
        .filter_map(|row| row.document.clone().ok())
        .collect();
    assert_eq!(good, [doc! {"a": 1}, doc! {"a": 2}, doc! {"a": 3}]);
    assert_eq!(rows[2].number, 3);
    assert!(
        rows[2].text.contains("nonsense")
            && rows[2].document.as_ref().unwrap_err().contains("JSON")
    );
    assert!(rows[3].document.as_ref().unwrap_err().contains("object"));
}

#[test]
fn one_array_however_it_is_laid_out() {
    let expected = vec![Ok(doc! {"a": "x]},{\\\""}), Ok(doc! {"b": [1, {"c": 2}]})];
    let compact = r#"[{"a":"x]},{\\\""},{"b":[1,{"c":2}]}]"#;
    let loose = "\u{feff} [\n  {\"a\" : \"x]},{\\\\\\\"\"} ,\n\n {\"b\":[1,{\"c\":2}]}\n]\n";
    assert_eq!(documents(compact, Some(Format::Json)), expected);
    assert_eq!(documents(loose, Some(Format::Json)), expected);
    assert_eq!(documents("[]", Some(Format::Json)), []);
    assert_eq!(documents("", Some(Format::Json)), []);
}

#[test]
fn elements_that_are_no_objects_are_rejected_one_by_one() {
    let documents = documents(
        r#"[1, "two", {"a":3}, {"b":}, {"c":4}]"#,
        Some(Format::Json),
    );
    assert_eq!(
        documents.iter().filter(|document| document.is_ok()).count(),
        2
    );
    assert_eq!(documents.len(), 5);
}

#[test]
fn a_file_that_ends_inside_an_element_says_so() {
    let documents = documents(r#"[{"a":1},{"a":"#, Some(Format::Json));
    assert_eq!(documents[0], Ok(doc! {"a": 1}));
    assert!(documents[1].as_ref().unwrap_err().contains("cut off"));
}

#[test]
fn csv_with_quotes_empty_cells_and_bad_rows() {
    let rows = rows(
        "name,lat\n\"a, \"\"b\"\"\",1.5\nc,\n1,2,3\nd,0042\n",
        options(Some(Format::Csv)),
    );
    assert_eq!(
        rows[0].document,
        Ok(doc! {"name": "a, \"b\"", "lat": "1.5"})
    );
    assert_eq!(rows[1].document, Ok(doc! {"name": "c"}));
    assert!(rows[2].document.as_ref().unwrap_err().contains("3 cells"));
    assert_eq!(rows[3].document, Ok(doc! {"name": "d", "lat": "0042"}));
}

#[test]
fn csv_names_may_be_paths_and_may_be_given() {
    let document = |text: &str, fields: &[&str]| {
        let options = RowsOptions {
            fields: fields.iter().map(|&field| field.to_owned()).collect(),
            ..options(Some(Format::Csv))
        };
        rows(text, options).remove(0).document
    };
    let expected = Ok(doc! {"a": {"b": "1", "c": {"d": "2"}}, "e": "3"});
    assert_eq!(document("a.b,a.c.d,e\n1,2,3\n", &[]), expected);
    assert_eq!(document("1,2,3\n", &["a.b", "a.c.d", "e"]), expected);
    let twice = document("1,2\n", &["a", "a.b"]).unwrap_err();
    assert!(twice.contains("\"a\""), "{twice}");
}

#[test]
fn bson_with_values_that_are_not_taken_and_a_cut_end() {
    let good = doc! {"_id": 1, "s": "x"};
    let decimal = doc! {"_id": 2, "d": "1.5".parse::<bson::Decimal128>().unwrap()};
    let id = doc! {"_id": ["a"]};
    let mut bytes: Vec<u8> = [&good, &decimal, &id, &good]
        .iter()
        .flat_map(|document| document.to_vec().unwrap())
        .collect();
    bytes.truncate(bytes.len() - 2);
    let rows = rows_of(&bytes, options(Some(Format::Bson)));
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0].document, Ok(good));
    assert!(
        rows[1]
            .document
            .as_ref()
            .unwrap_err()
            .contains("decimal128")
    );
    assert!(rows[1].text.contains("$numberDecimal"), "{}", rows[1].text);
    assert!(rows[2].document.as_ref().unwrap_err().contains("_id"));
    assert!(rows[3].document.as_ref().unwrap_err().contains("cut off"));
    let convert = RowsOptions {
        convert: vec![Conversion::Decimal],
        ..options(Some(Format::Bson))
    };
    let converted = rows_of(&decimal.to_vec().unwrap(), convert);
    assert_eq!(converted[0].document, Ok(doc! {"_id": 2, "d": 1.5}));
    let reader = Cursor::new(b"\x01\x00\x00\x00rest".to_vec());
    let mut broken = Rows::new(
        reader,
        options(Some(Format::Bson)),
        Arc::from("c"),
        Place::default(),
    )
    .unwrap();
    assert!(broken.next().unwrap().is_err() && broken.next().is_none());
}

#[test]
fn types_are_inferred_on_request() {
    assert_eq!(csv_rows::inferred("12"), Bson::Int32(12));
    assert_eq!(csv_rows::inferred("-3.5"), Bson::Double(-3.5));
    assert_eq!(csv_rows::inferred("9000000000"), Bson::Int64(9_000_000_000));
    assert_eq!(csv_rows::inferred("true"), Bson::Boolean(true));
    for text in ["0042", "1-2", "nan", "inf", "e", "", "-"] {
        assert_eq!(csv_rows::inferred(text), Bson::from(text), "{text:?}");
    }
    assert_eq!(csv_rows::inferred("0.5"), Bson::Double(0.5));
}

#[test]
fn the_first_character_tells_the_format() {
    assert_eq!(documents("  [{\"a\":1}]", None), [Ok(doc! {"a": 1})]);
    assert_eq!(documents("{\"a\":1}\n", None), [Ok(doc! {"a": 1})]);
    assert_eq!(documents("a\n1\n", None), [Ok(doc! {"a": "1"})]);
    assert_eq!(documents("", None), []);
}

#[test]
fn ids_are_taken_from_a_field() {
    let options = RowsOptions {
        id_field: Some("k".into()),
        ..options(Some(Format::Jsonl))
    };
    let rows = rows("{\"k\":\"x\",\"a\":1}\n{\"a\":2}\n{\"k\":[1]}\n", options);
    assert_eq!(rows[0].document, Ok(doc! {"k": "x", "a": 1, "_id": "x"}));
    assert!(rows[1].document.as_ref().unwrap_err().contains("no field"));
    assert!(
        rows[2]
            .document
            .as_ref()
            .unwrap_err()
            .contains("cannot be the _id")
    );
}

#[test]
fn reading_goes_on_behind_any_row() {
    let bson: Vec<u8> = ["1", "2", "3"]
        .iter()
        .flat_map(|text| doc! {"a": *text}.to_vec().unwrap())
        .collect();
    let files: [(Format, &[u8]); 4] = [
        (
            Format::Jsonl,
            b"{\"a\":\"1\"}\n\n{\"a\":\"2\"}\n{\"a\":\"3\"}\n",
        ),
        (
            Format::Json,
            b"[{\"a\":\"1\"},\n {\"a\":\"2\"} , {\"a\":\"3\"}]",
        ),
        (Format::Csv, b"a\n1\n\"2\"\n3\n"),
        (Format::Bson, &bson),
    ];
    for (format, bytes) in files {
        let options = || options(Some(format));
        let all = rows_of(bytes, options());
        assert_eq!(all.len(), 3, "{format:?}");
        for done in 1..3 {
            let mut file = Cursor::new(bytes);
            let head = head(BufReader::new(&mut file), &options()).unwrap();
            let offset = all[done - 1].end_offset;
            file.seek(SeekFrom::Start(offset)).unwrap();
            let place = Place {
                offset,
                rows: done as u64,
                head: Some(head),
            };
            let rest = Rows::new(BufReader::new(file), options(), Arc::from("c"), place).unwrap();
            let rest: Vec<Read> = rest.map(|row| read(row.unwrap())).collect();
            assert_eq!(rest.len(), 3 - done, "{format:?} after {done}");
            for (again, first) in rest.iter().zip(&all[done..]) {
                assert_eq!(again.document, first.document);
                assert_eq!(
                    (again.number, again.end_offset),
                    (first.number, first.end_offset),
                    "{format:?}"
                );
            }
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    let seed: u64 = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..500 {
        let length = rng.random_range(0..80);
        let alphabet = b"[]{}\",:\\ \n\rab1\xff\xef";
        let bytes: Vec<u8> = (0..length)
            .map(|_| alphabet[rng.random_range(0..alphabet.len())])
            .collect();
        for format in [Format::Json, Format::Jsonl, Format::Csv, Format::Bson] {
            let reader = BufReader::with_capacity(4, Cursor::new(bytes.clone()));
            let options = options(Some(format));
            let rows = Rows::new(reader, options, Arc::from("c"), Place::default()).unwrap();
            let count = rows.take(1000).count();
            assert!(count < 1000, "seed {seed}");
        }
    }
}
