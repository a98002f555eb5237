//! Rotary frequencies and how long-context models stretch them.

use crate::Error;
use openledger_tensor::RopeTable;
use serde_json::Value;

/// One rotary embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are changed.
    pub scaling: RopeScaling,
}

/// How frequencies are changed for contexts longer than those of the first training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency is divided by `factor`. Source: 2306.15595.
    Linear {
        /// At least 1.
        factor: f32,
    },
    /// Low frequencies are divided by `factor`, high ones kept, those between blended, as Llama 3.1 has it.
    Llama3 {
        /// At least 1.
        factor: f32,
        /// Wavelengths above `context` / this are low.
        low_frequency_factor: f32,
        /// Wavelengths below `context` / this are high.
        high_frequency_factor: f32,
        /// Positions of the first training.
        context: f32,
    },
}

impl Rope {
    /// The angle per position of each pair of elements [head_dim / 2], in f32 and in the order of operations of
    /// Hugging Face.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let mut frequencies = RopeTable::frequencies(head_dim, self.theta);
        match self.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => frequencies.iter_mut().for_each(|f| *f /= factor),
            RopeScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                context,
            } => {
                for f in &mut frequencies {
                    let wavelength = std::f32::consts::TAU / *f;
                    if wavelength > context / low {
                        *f /= factor;
                    } else if wavelength >= context / high {
                        let smooth = (context / wavelength - low) / (high - low);
                        *f = (1.0 - smooth) * *f / factor + smooth * *f;
                    }
                }
            }
        }
        frequencies
    }

    /// Reads `rope_scaling`, or `rope_parameters` of newer files, which hold `rope_theta` too.
    ///
    /// Errors: [`Error::Config`] naming a kind of scaling or a value that is not run.
    pub(super) fn read(theta: f64, settings: Option<&Value>) -> Result<Self, Error> {
        let get = |name: &str| settings.and_then(|s| s.get(name)).filter(|v| !v.is_null());
        let number = |name: &str| {
            let value = get(name).and_then(Value::as_f64).filter(|x| x.is_finite() && *x > 0.0);
            value.map(|x| x as f32).ok_or_else(|| {
                Error::Config(format!("{name} of the rotary settings is not a positive number"))
            })
        };
        let theta = match get("rope_theta") {
            Some(theta) => {
                theta.as_f64().ok_or_else(|| Error::Config("rope_theta is not a number".into()))?
            }
            None => theta,
        };
        if !(1.0..=1e12).contains(&theta) {
            return Err(Error::Config(format!("rope_theta is {theta}")));
        }
        if get("partial_rotary_factor").is_some_and(|x| x.as_f64() != Some(1.0)) {
            return Err(Error::Config("partial_rotary_factor is not supported".into()));
        }
        let kind = get("rope_type").or_else(|| get("type"));
        let scaling = match kind.map(|kind| kind.as_str().unwrap_or_default()) {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: number("factor")? },
            Some("llama3") => RopeScaling::Llama3 {
                factor: number("factor")?,
                low_frequency_factor: number("low_freq_factor")?,
                high_frequency_factor: number("high_freq_factor")?,
                context: number("original_max_position_embeddings")?,
            },
            Some(other) => {
                return Err(Error::Config(format!(
                    "rotary scaling {other:?} is not supported, only \"linear\" and \"llama3\" are"
                )));
            }
        };
        if let RopeScaling::Llama3 {
            low_frequency_factor: low, high_frequency_factor: high, ..
        } = scaling
            && low >= high
        {
            return Err(Error::Config(format!("low_freq_factor {low}, high_freq_factor {high}")));
        }
        Ok(Self { theta, scaling })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            context: 8192.0,
        };
        let plain = Rope { theta: 500_000.0, scaling: RopeScaling::None }.frequencies(64);
        let scaled = Rope { theta: 500_000.0, scaling }.frequencies(64);
        assert_eq!(plain[0], 1.0);
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[31], plain[31] / 8.0);
        let between = plain.iter().zip(&scaled).filter(|(p, s)| **s < **p && **s > **p / 8.0);
        assert!((1..16).contains(&between.count()));
    }
}
