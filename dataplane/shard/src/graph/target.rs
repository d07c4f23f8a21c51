//! What a search is for, in the forms that walks need.

use shoal_vector::codes::{QueryCode, Rotation};
use shoal_vector::simd::{Isa, Kernel, Task};

use crate::api::QuantizationParams;

/// What is searched for: a query and what walks of any graph need of it. One a search.
pub(crate) struct Target<'q> {
    pub(super) query: &'q [f32],
    pub(super) rotated: Vec<f32>,
    pub(super) code: QueryCode,
    /// How far codes are relied on.
    pub(crate) params: QuantizationParams,
}

impl<'q> Target<'q> {
    /// A query, preprocessed by the metric.
    pub(crate) fn new(query: &'q [f32], rotation: &Rotation, params: QuantizationParams) -> Self {
        let mut target = Self {
            query,
            rotated: vec![0.0; rotation.padded()],
            code: QueryCode::new(rotation.padded()),
            params,
        };
        Isa::detect().run(Rotate { target: &mut target, rotation });
        target
    }
}

struct Rotate<'a, 'q> {
    target: &'a mut Target<'q>,
    rotation: &'a Rotation,
}

impl Task for Rotate<'_, '_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) {
        self.rotation.apply::<K>(self.target.query, &mut self.target.rotated);
        self.target.code.set_in_task::<K>(&self.target.rotated);
    }
}
