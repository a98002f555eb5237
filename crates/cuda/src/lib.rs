//! The serving decoder on a CUDA device.
//!
//! The same steps as `openledger_model::serving`, with kernels of our own. In f32 every kernel keeps to the order of
//! operations of `openledger_tensor`, so results have the bits of the processor's; in bf16 the products go through
//! tensor cores. Not here: which sequence runs when (`openlora`), what a model is (`model`).
//!
//! ```text
//! kernels/*.cu ──NVRTC, at run time──▶ CudaBackend ─┐
//!        └──────the C compiler, in tests──▶ Emulator ┴▶ Backend ─▶ kernels ─▶ DeviceDecoder ─▶ logits, likelihoods
//! ```
//!
//! **Invariant:** nothing of CUDA is needed to build, to link or to start; a machine without a device is told so.
//! **Invariant:** in f32, logits and likelihoods have the bits of the exact decoder. The tests see to it with the
//! kernels' own sources, compiled for the processor.
//! **Invariant:** in every form a row's bits depend on its own sequence and its own adapters only.
//! **Invariant:** unsafe code is in `driver`, and for tests in `emulator`.

mod adapters;
mod backend;
mod decoder;
mod device;
mod driver;
#[cfg(test)]
mod emulator;
mod error;
mod kernels;
mod linear;
mod scoring;
mod serving_model;
mod source;
#[cfg(test)]
mod tests;

pub use decoder::{DeviceConfig, DeviceDecoder, page_bytes};
pub use device::{Device, DeviceForm};
pub use error::Error;
pub use scoring::DeviceScorer;
