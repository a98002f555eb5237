//! Devices: whether there is one, and what is put on it.

use crate::backend::Backend;
use crate::driver::{self, CudaBackend};
use crate::{DeviceConfig, DeviceDecoder, Error};
use openledger_model::{DecoderConfig, Weights};
use std::sync::Arc;

/// How weights are kept on a device and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceForm {
    /// f32, every sum in the order of the exact decoder: its bits.
    F32,
    /// bf16 in weights and inputs, sums in f32 by tensor cores. A row's bits still depend on that row alone.
    Bf16,
}

/// A CUDA device with our kernels.
#[derive(Clone, Debug)]
pub struct Device {
    backend: Arc<CudaBackend>,
}

impl Device {
    /// Devices on this machine; 0 without a driver. Errors: [`Error::Driver`].
    pub fn count() -> Result<usize, Error> {
        Ok(driver::count()?.unwrap_or(0))
    }

    /// Opens a device and compiles the kernels for it; `None` where there is no driver or no device at all.
    ///
    /// Errors: [`Error::NoDevice`] if there are devices, but not this one; [`Error::TooOld`],
    /// [`Error::NoCompiler`], [`Error::Compile`], [`Error::Driver`].
    pub fn find(ordinal: usize) -> Result<Option<Self>, Error> {
        let Some(there) = driver::count()? else { return Ok(None) };
        if ordinal >= there {
            return Err(Error::NoDevice { wanted: ordinal, there });
        }
        Ok(Some(Self { backend: Arc::new(CudaBackend::open(ordinal)?) }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.backend.properties.name
    }

    /// Compute capability.
    pub fn compute(&self) -> (i32, i32) {
        self.backend.properties.compute
    }

    /// Memory it has.
    pub fn memory_bytes(&self) -> usize {
        self.backend.properties.memory_bytes
    }

    /// Memory that is free on it.
    pub fn free_bytes(&self) -> Result<usize, Error> {
        self.backend.free_bytes()
    }

    /// Puts a model on it. Errors: [`Error::Memory`]; [`Error::Model`] for keys and values in eight bits.
    pub fn decoder(
        &self,
        model: DecoderConfig,
        weights: Weights,
        config: DeviceConfig,
    ) -> Result<DeviceDecoder, Error> {
        let backend: Arc<dyn Backend> = Arc::clone(&self.backend) as _;
        DeviceDecoder::on(&backend, model, weights, config)
    }
}
