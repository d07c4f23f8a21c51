//! Matrices in numpy's format, as far as benchmarks need it: two dimensions, C order, f16, f32 or i32.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::f16;

/// A matrix of rows.
pub(crate) struct Matrix<T> {
    pub(crate) columns: usize,
    pub(crate) data: Vec<T>,
}

impl<T> Matrix<T> {
    pub(crate) fn rows(&self) -> usize {
        self.data.len() / self.columns.max(1)
    }

    pub(crate) fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.columns..][..self.columns]
    }
}

/// Reads f16 or f32 as f32.
pub(crate) fn read_floats(path: &Path) -> Result<Matrix<f32>> {
    let (kind, columns, body) = read(path)?;
    let data = match kind.as_str() {
        "<f2" => body.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        "<f4" => body.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        other => bail!("{}: {other} instead of floats", path.display()),
    };
    Ok(Matrix { columns, data })
}

/// Reads i32.
pub(crate) fn read_integers(path: &Path) -> Result<Matrix<i32>> {
    let (kind, columns, body) = read(path)?;
    ensure!(kind == "<i4", "{}: {kind} instead of i32", path.display());
    let data = body.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b)).collect();
    Ok(Matrix { columns, data })
}

/// Element type, columns and elements.
fn read(path: &Path) -> Result<(String, usize, Vec<u8>)> {
    let shown = path.display();
    let bytes = std::fs::read(path).with_context(|| shown.to_string())?;
    ensure!(bytes.starts_with(b"\x93NUMPY\x01"), "{shown} is no .npy file of version 1");
    let len = bytes.get(8..10).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let header = bytes.get(10..10 + len).with_context(|| format!("{shown} ends in its header"))?;
    let header = std::str::from_utf8(header)?;
    let after = |key: &str| header.split_once(key).map(|(_, rest)| rest);
    let kind = after("'descr': '").and_then(|rest| rest.split('\'').next());
    let shape = after("'shape': (").and_then(|rest| rest.split(')').next());
    let (Some(kind), Some(shape)) = (kind, shape) else { bail!("{shown}: header {header}") };
    let shape: Vec<usize> = shape.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let [_, columns] = shape[..] else { bail!("{shown} has the shape {shape:?}") };
    ensure!(header.contains("'fortran_order': False"), "{shown} is in Fortran's order");
    Ok((kind.to_owned(), columns, bytes[10 + len..].to_vec()))
}
