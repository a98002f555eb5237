//! What can go wrong with a device.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver is there and refuses.
    #[error("CUDA: {doing}: {why}")]
    Driver {
        /// What was tried.
        doing: &'static str,
        /// The driver's own words.
        why: String,
    },
    /// There are fewer devices.
    #[error("there is no CUDA device {wanted}: this machine has {there}, numbered from 0")]
    NoDevice {
        /// Which was asked for.
        wanted: usize,
        /// How many there are.
        there: usize,
    },
    /// The device is too old for bf16 products.
    #[error(
        "{name} has compute capability {major}.{minor}; 8.0 or newer is needed. Serve with --device cpu"
    )]
    TooOld {
        /// The device.
        name: String,
        /// Its compute capability.
        major: i32,
        /// As above.
        minor: i32,
    },
    /// The compiler of the kernels is missing.
    #[error(
        "a CUDA device is there, but not NVRTC, which compiles our kernels for it: install the CUDA toolkit 13, or \
         `pip install 'nvidia-cuda-nvrtc==13.0.*'` and add its folder nvidia/cu13/lib to LD_LIBRARY_PATH"
    )]
    NoCompiler,
    /// The kernels did not compile.
    #[error("the kernels did not compile for {target}: {log}")]
    Compile {
        /// The architecture.
        target: String,
        /// What the compiler said.
        log: String,
    },
    /// The memory of the device does not suffice.
    #[error("the device has no room for {wanted} bytes more, {free} are free")]
    Memory {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes free on the device.
        free: usize,
    },
    /// A request does not fit the model, or the model not the device.
    #[error(transparent)]
    Model(#[from] openledger_model::Error),
}
