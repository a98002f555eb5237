//! Where answers are computed: on the processor, or on a CUDA device that is there and has room.

use std::str::FromStr;

use openledger_cuda::{Device, DeviceConfig, DeviceDecoder, DeviceForm};
use openledger_model::{
    DecoderConfig, Weights,
    serving::{KvForm, ServingDecoder, WeightForm},
};

use crate::{
    cli::{AdapterForm, KeysAndValues, MatrixForm, ServeArgs},
    failure::{Exit, Failure, OrFail},
    output::tell,
};

/// Memory of a device that is left for rows on their way and for the driver.
const SPARE_BYTES: usize = 1 << 30;

/// `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A device if there is one that serves this, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// This CUDA device.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("{text:?} is no device: auto, cpu, cuda or cuda:1")),
        }
    }
}

/// A decoder at its place.
pub enum Placed {
    /// On a device.
    Device(DeviceDecoder),
    /// On the processor.
    Processor(ServingDecoder),
}

/// The forms of the processor.
fn forms(args: &ServeArgs) -> (WeightForm, KvForm) {
    let weights = match args.weights {
        MatrixForm::F32 => WeightForm::F32,
        MatrixForm::Bf16 => WeightForm::Bf16,
        MatrixForm::Int8 => WeightForm::Int8,
        MatrixForm::FourBit => WeightForm::FourBit,
    };
    let kv = match args.kv {
        KeysAndValues::F32 => KvForm::F32,
        KeysAndValues::Bf16 => KvForm::Bf16,
        KeysAndValues::Int8 => KvForm::Int8,
    };
    (weights, kv)
}

/// The forms of a device. Errors: which setting it does not know.
fn device_config(args: &ServeArgs) -> Result<DeviceConfig, String> {
    let (weights, kv_form) = forms(args);
    let form = match weights {
        WeightForm::F32 => DeviceForm::F32,
        WeightForm::Bf16 => DeviceForm::Bf16,
        _ => return Err("a device keeps weights in bf16 or f32: set --weights".into()),
    };
    if kv_form == KvForm::Int8 {
        return Err("a device keeps keys and values in bf16 or f32: set --kv".into());
    }
    if args.adapter_form == AdapterForm::Int8 {
        return Err("a device keeps adapters in bf16: set --adapter-form".into());
    }
    if args.merged_mib > 0 {
        return Err("a device keeps no merged copies: leave --merged-mib out".into());
    }
    let bytes = args.memory_mib << 20;
    Ok(DeviceConfig { form, kv_form, kv_bytes: bytes, adapter_bytes: bytes })
}

/// Memory that a model takes on a device, all told.
fn bytes_needed(model: &DecoderConfig, config: DeviceConfig) -> usize {
    let weight = if config.form == DeviceForm::F32 { 4 } else { 2 };
    let weights = usize::try_from(model.parameters()).unwrap_or(usize::MAX).saturating_mul(weight);
    weights.saturating_add(config.kv_bytes + config.adapter_bytes + SPARE_BYTES)
}

/// Puts the model on a device where that is wanted and possible, and says in one line where it is served.
///
/// Errors: only where a device was asked for by name: there is none, or it does not serve this.
pub fn place(
    args: &ServeArgs,
    model: &DecoderConfig,
    weights: &Weights,
) -> Result<Placed, Failure> {
    let on_processor = || {
        let (weight_form, kv_form) = forms(args);
        let decoder = ServingDecoder::new(model.clone(), weights.clone(), weight_form, kv_form);
        Ok(Placed::Processor(decoder))
    };
    let ordinal = match args.device {
        DeviceChoice::Cpu => return on_processor(),
        DeviceChoice::Auto => 0,
        DeviceChoice::Cuda(ordinal) => ordinal,
    };
    match put(args, ordinal, model, weights) {
        Ok((device, decoder)) => {
            tell(&format!(
                "Device    cuda:{ordinal}, {}, weights in {:?}",
                device.name(),
                decoder.form()
            ));
            Ok(Placed::Device(decoder))
        }
        Err(why) if args.device == DeviceChoice::Auto => {
            tell(&format!("Device    cpu: {why}"));
            on_processor()
        }
        Err(why) => Err(why).or_fail(Exit::Failure, format!("cannot serve on cuda:{ordinal}")),
    }
}

fn put(
    args: &ServeArgs,
    ordinal: usize,
    model: &DecoderConfig,
    weights: &Weights,
) -> Result<(Device, DeviceDecoder), String> {
    // Settings are looked at after the device, so that a machine without one is told that.
    let found = Device::find(ordinal).map_err(|error| error.to_string())?;
    let device = found.ok_or("there is no CUDA device here")?;
    let config = device_config(args)?;
    let free = device.free_bytes().map_err(|error| error.to_string())?;
    let needed = bytes_needed(model, config);
    if needed > free {
        return Err(format!(
            "{} has {} MiB free, {} MiB are needed; set --memory-mib lower",
            device.name(),
            free >> 20,
            needed >> 20
        ));
    }
    let decoder = device.decoder(model.clone(), weights.clone(), config);
    Ok((device, decoder.map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_other_tools_name_them() {
        let parse = |text: &str| text.parse::<DeviceChoice>();
        assert_eq!(parse("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(parse("cpu"), Ok(DeviceChoice::Cpu));
        assert_eq!(parse("cuda"), Ok(DeviceChoice::Cuda(0)));
        assert_eq!(parse("cuda:3"), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
