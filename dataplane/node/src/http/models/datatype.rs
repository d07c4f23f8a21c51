//! `datatype` of a vector: what its numbers are stored as.

use shoal_vector::Datatype;

use super::super::error::Failure;

/// What a body's `datatype` stands for. `place` is where it is, for errors.
pub(in super::super) fn read(datatype: Option<&str>, place: &str) -> Result<Datatype, Failure> {
    match datatype {
        None | Some("float32") => Ok(Datatype::Float32),
        Some("float16") => Ok(Datatype::Float16),
        Some("uint8") => Err(Failure::unsupported(format!(
            "`{place}` uint8 (use `float16`, and for walks that compare bytes a `quantization_config` of scalar int8)"
        ))),
        Some("turbo4") => Err(Failure::unsupported(format!("`{place}` turbo4 (use `float16`)"))),
        Some(_) => Err(Failure::field(place, "expected `float32` or `float16`")),
    }
}

/// What clients are told of it; nothing for the default.
pub(in super::super) fn told(datatype: Datatype) -> Option<&'static str> {
    match datatype {
        Datatype::Float32 => None,
        Datatype::Float16 => Some("float16"),
    }
}
