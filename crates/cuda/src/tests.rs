//! The kernels, run by the processor, against `openledger_tensor` and `openledger_model`, bit by bit.
//!
//! Where there is a device, `OPENLEDGER_CUDA_TESTS=1` runs the same tests on it.

mod attention;
mod compilation;
mod products;
mod random_mix;
mod rows;
mod whole_model;

use crate::backend::{Backend, Buffer};
use crate::driver::CudaBackend;
use crate::emulator::Emulator;
use openledger_tensor::Random;
use std::sync::{Arc, OnceLock};

/// Where it is set, tests run on the first CUDA device instead of the processor.
const ON_CUDA: &str = "OPENLEDGER_CUDA_TESTS";

/// What the kernels are run on.
fn device() -> Arc<dyn Backend> {
    static CUDA: OnceLock<Arc<CudaBackend>> = OnceLock::new();
    if std::env::var_os(ON_CUDA).is_none() {
        return Emulator::device();
    }
    let cuda = CUDA.get_or_init(|| Arc::new(CudaBackend::open(0).expect("a CUDA device")));
    Arc::clone(cuda) as _
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn normals(n: usize, random: &mut Random) -> Vec<f32> {
    (0..n).map(|_| random.normal()).collect()
}

fn up(backend: &Arc<dyn Backend>, x: &[f32]) -> Buffer {
    Buffer::of(backend, x).expect("memory")
}

fn ids(backend: &Arc<dyn Backend>, x: &[u32]) -> Buffer {
    Buffer::of(backend, x).expect("memory")
}

fn room(backend: &Arc<dyn Backend>, n: usize) -> Buffer {
    up(backend, &vec![f32::NAN; n])
}

fn down(buffer: &Buffer, n: usize) -> Vec<f32> {
    let mut x = vec![0.0; n];
    buffer.read(&mut x).expect("is there");
    x
}
