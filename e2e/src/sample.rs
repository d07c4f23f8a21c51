//! The bundled WordNet sample: vectors from `.npy` files of 16-bit floats, payloads from gzipped JSON lines.
//!
//! Why here: tests of speed and recall need real vectors, whose neighbours are neither all alike nor all random.
//! Invariant: row `i` of the vectors belongs to line `i` of the payloads; a folder where the counts differ is refused.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use half::f16;

/// One vector with its payload.
#[derive(Clone, Debug)]
pub struct Row {
    /// Components, widened from 16 bits.
    pub vector: Vec<f32>,
    /// The JSON object of the same line.
    pub payload: serde_json::Value,
}

/// The folder of the sample, beside this crate.
pub fn wordnet() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples/wordnet")
}

/// Rows of `<name>.npy` and `<lines>` in `folder`.
pub fn read(folder: &Path, vectors: &str, lines: &str) -> Result<Vec<Row>> {
    let path = folder.join(vectors);
    let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let vectors = parse_npy(&bytes).with_context(|| format!("parsing {}", path.display()))?;
    let path = folder.join(lines);
    let file = std::fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .with_context(|| format!("unpacking {}", path.display()))?;
    let payloads =
        text.lines().map(serde_json::from_str).collect::<Result<Vec<serde_json::Value>, _>>()?;
    ensure!(
        vectors.len() == payloads.len(),
        "{} vectors but {} payloads in {}",
        vectors.len(),
        payloads.len(),
        folder.display()
    );
    Ok(vectors.into_iter().zip(payloads).map(|(vector, payload)| Row { vector, payload }).collect())
}

/// The 10,000 points.
pub fn points() -> Result<Vec<Row>> {
    read(&wordnet(), "vectors.f16.npy", "points.jsonl.gz")
}

/// Queries, none of which is among the points.
pub fn queries() -> Result<Vec<Row>> {
    read(&wordnet(), "queries.f16.npy", "queries.jsonl.gz")
}

/// A NumPy file (format 1.0) of a two-dimensional, C-ordered array of little-endian 16-bit floats.
fn parse_npy(bytes: &[u8]) -> Result<Vec<Vec<f32>>> {
    ensure!(bytes.starts_with(b"\x93NUMPY\x01\x00"), "not a NumPy file of format 1.0");
    let length = bytes.get(8..10).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
    let data_at = 10 + usize::from(length.context("the header is cut off")?);
    let header = bytes.get(10..data_at).context("the header is cut off")?;
    let header = std::str::from_utf8(header).context("the header is not text")?;
    ensure!(header.contains("'descr': '<f2'"), "not little-endian 16-bit floats: {header}");
    ensure!(header.contains("'fortran_order': False"), "not in C order: {header}");
    let shape = header
        .split_once("'shape': (")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(shape, _)| shape.split(',').map(str::trim).filter(|s| !s.is_empty()))
        .context("no shape")?
        .map(str::parse::<usize>)
        .collect::<Result<Vec<_>, _>>()?;
    let [rows, columns] = shape[..] else { bail!("not two-dimensional: {shape:?}") };
    let data = bytes.get(data_at..).unwrap_or_default();
    let expected = rows.checked_mul(columns).and_then(|n| n.checked_mul(2));
    ensure!(columns > 0 && expected == Some(data.len()), "{} bytes for {shape:?}", data.len());
    Ok(data
        .chunks_exact(columns * 2)
        .map(|row| row.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn a_numpy_file_is_read_row_by_row() {
        let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2), }\n";
        let data: Vec<u8> =
            [1.0, -2.0, 0.5, 0.0].iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        assert_eq!(parse_npy(&npy(header, &data)).unwrap(), [[1.0, -2.0], [0.5, 0.0]]);
    }

    #[test]
    fn other_numpy_files_are_refused_with_the_reason() {
        let refused =
            |header: &str, data: &[u8]| parse_npy(&npy(header, data)).unwrap_err().to_string();
        assert!(
            refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}", &[0; 4])
                .contains("16-bit")
        );
        assert!(
            refused("{'descr': '<f2', 'fortran_order': True, 'shape': (1, 1)}", &[0; 2])
                .contains("C order")
        );
        assert!(
            refused("{'descr': '<f2', 'fortran_order': False, 'shape': (3,)}", &[0; 6])
                .contains("two-dim")
        );
        assert!(
            refused("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2)}", &[0; 6])
                .contains("6 bytes")
        );
        assert!(parse_npy(b"PK").is_err());
    }

    #[test]
    fn the_bundled_sample_is_whole() {
        let points = points().unwrap();
        assert_eq!(points.len(), 10_000);
        assert!(
            points.iter().all(|row| row.vector.len() == 384 && row.payload["text"].is_string())
        );
        assert!(queries().unwrap().iter().all(|row| row.vector.len() == 384));
    }
}
