//! A sample's files: matrices of float16 in NumPy's format, and one JSON object a line beside them.
//!
//! Invariant: a [`Sample`] has as many texts as vectors, and queries of the points' size.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use flate2::read::GzDecoder;
use half::f16;
use serde::Serialize;
use serde_json::Value;
use shoal_vector::Payload;

/// First bytes of a file of NumPy's.
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Points to load and queries to show.
pub(super) struct Sample {
    pub(super) vectors: Matrix,
    payloads: Vec<Payload>,
    pub(super) queries: Matrix,
    query_texts: Vec<Payload>,
}

/// A point as the dialect takes it.
#[derive(Serialize)]
pub(super) struct PointOut<'a> {
    id: usize,
    vector: Vec<f32>,
    payload: &'a Payload,
}

impl Sample {
    /// Reads a folder.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        ensure!(
            folder.is_dir(),
            "there is no folder {}: name the sample's with --data (in the repository it is config/samples/wordnet)",
            folder.display()
        );
        let sample = Self {
            vectors: in_file(&folder.join("vectors.f16.npy"), Matrix::parse)?,
            payloads: in_file(&folder.join("points.jsonl.gz"), lines)?,
            queries: in_file(&folder.join("queries.f16.npy"), Matrix::parse)?,
            query_texts: in_file(&folder.join("queries.jsonl.gz"), lines)?,
        };
        let (points, texts) = (sample.vectors.rows, sample.payloads.len());
        ensure!(
            points == texts,
            "vectors.f16.npy has {points} rows and points.jsonl.gz {texts} lines"
        );
        let (queries, texts) = (sample.queries.rows, sample.query_texts.len());
        ensure!(
            queries == texts,
            "queries.f16.npy has {queries} rows and queries.jsonl.gz {texts} lines"
        );
        ensure!(
            sample.vectors.columns == sample.queries.columns,
            "points and queries have different dimensions"
        );
        ensure!(points > 0 && queries > 0, "the sample is empty");
        Ok(sample)
    }

    /// Points of these rows; a row's number is the point's id.
    pub(super) fn points(&self, rows: Range<usize>) -> Vec<PointOut<'_>> {
        let payloads = self.payloads.iter().enumerate().skip(rows.start).take(rows.len());
        payloads
            .map(|(id, payload)| PointOut { id, vector: self.vectors.row(id), payload })
            .collect()
    }

    /// A query's vector and text; the number wraps around.
    pub(super) fn query(&self, number: usize) -> (Vec<f32>, &str) {
        let row = number % self.queries.rows;
        let text = self.query_texts.get(row).and_then(|query| query.get("text")?.as_str());
        (self.queries.row(row), text.unwrap_or("a query without a text"))
    }
}

fn in_file<T>(path: &Path, parse: impl Fn(&[u8]) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{} is damaged or of another format", path.display()))
}

/// One JSON object a line, compressed.
fn lines(bytes: &[u8]) -> anyhow::Result<Vec<Payload>> {
    let mut objects = Vec::new();
    for line in BufReader::new(GzDecoder::new(bytes)).lines() {
        let value: Value =
            serde_json::from_str(&line?).with_context(|| format!("line {}", objects.len() + 1))?;
        let Value::Object(object) = value else {
            bail!("line {}: not an object", objects.len() + 1)
        };
        objects.push(object);
    }
    Ok(objects)
}

/// A matrix, row by row.
#[derive(Debug)]
pub(super) struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f16>,
}

impl Matrix {
    /// Reads NumPy's format, of which this takes one kind: little-endian float16, rows first, two dimensions.
    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut rest = bytes;
        let mut magic = [0; 6];
        rest.read_exact(&mut magic)?;
        ensure!(&magic == MAGIC, "not a .npy file");
        let mut version = [0; 2];
        rest.read_exact(&mut version)?;
        let length = match version[0] {
            1 => u32::from(u16::from_le_bytes(take(&mut rest)?)),
            2 | 3 => u32::from_le_bytes(take(&mut rest)?),
            other => bail!("version {other} of the .npy format is not known"),
        };
        let (header, data) =
            rest.split_at_checked(length as usize).context("the header is cut off")?;
        let (rows, columns) = shape(std::str::from_utf8(header)?)?;
        let expected = rows
            .checked_mul(columns)
            .and_then(|n| n.checked_mul(2))
            .context("the shape is too large")?;
        ensure!(data.len() == expected, "{} bytes of values instead of {expected}", data.len());
        ensure!(columns > 0, "no columns");
        let values = data.chunks_exact(2).map(|two| f16::from_le_bytes([two[0], two[1]])).collect();
        Ok(Self { rows, columns, values })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    fn row(&self, row: usize) -> Vec<f32> {
        let values = self.values.iter().skip(row * self.columns).take(self.columns);
        values.map(|value| value.to_f32()).collect()
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rest.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Rows and columns from a header such as `{'descr': '<f2', 'fortran_order': False, 'shape': (3, 2), }`.
fn shape(header: &str) -> anyhow::Result<(usize, usize)> {
    ensure!(header.contains("'descr': '<f2'"), "values are not float16");
    ensure!(header.contains("'fortran_order': False"), "values are not stored row by row");
    let sizes = header
        .split_once("'shape': (")
        .and_then(|(_, rest)| rest.split_once(')'))
        .context("no shape")?
        .0;
    let sizes: Vec<usize> =
        sizes.split(',').map(|size| size.trim().parse()).collect::<Result<_, _>>()?;
    match sizes.as_slice() {
        [rows, columns] => Ok((*rows, *columns)),
        other => bail!("{} dimensions instead of 2", other.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, shape: &str, values: &[f32]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        values.iter().for_each(|value| bytes.extend(f16::from_f32(*value).to_le_bytes()));
        bytes
    }

    #[test]
    fn matrices_are_read_row_by_row() {
        let matrix = Matrix::parse(&npy("<f2", "(3, 2)", &[1.0, 2.0, 3.0, 4.0, 5.0, 0.5])).unwrap();
        assert_eq!((matrix.rows(), matrix.columns()), (3, 2));
        assert_eq!(matrix.row(2), [5.0, 0.5]);
    }

    #[test]
    fn files_of_another_kind_or_cut_off_anywhere_are_errors() {
        for wrong in [
            npy("<f4", "(1, 1)", &[1.0]),
            npy("<f2", "(1,)", &[1.0]),
            npy("<f2", "(2, 1)", &[1.0]),
            npy("<f2", "(99999999999, 99999999999)", &[1.0]),
            npy("<f2", "(-1, 1)", &[1.0]),
        ] {
            Matrix::parse(&wrong).unwrap_err();
        }
        let good = npy("<f2", "(1, 2)", &[1.0, 2.0]);
        for end in 0..good.len() {
            assert!(Matrix::parse(&good[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_bundled_sample_is_whole() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/samples/wordnet");
        let sample = Sample::read(&folder).unwrap();
        assert_eq!((sample.vectors.rows(), sample.vectors.columns()), (10_000, 384));
        let points = sample.points(9_999..10_000);
        let length: f32 = points[0].vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-2, "vectors have unit length, this one {length}");
        assert!(points[0].payload.contains_key("text"));
        assert!(sample.query(1).1.contains(':'), "a word and its gloss");
    }

    #[test]
    fn a_missing_folder_says_how_to_name_one() {
        let Err(error) = Sample::read(Path::new("no/such/folder")) else {
            panic!("there is no such folder")
        };
        assert!(error.to_string().contains("--data"), "{error}");
    }
}
