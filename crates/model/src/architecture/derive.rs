//! From the settings of a file to the switches.

use super::{Activation, Architecture, Biases, Family, LayerRule, Rope, RopeScaling};
use crate::{DecoderConfig, Error};
use openledger_tensor::rsqrt;

/// Largest scale or cap that is taken for one.
const SCALE_MAX: f64 = 1e6;

fn refuse<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Config(why.into()))
}

impl Architecture {
    /// Errors: [`Error::Config`] naming the setting that this decoder does not run.
    pub(crate) fn of(config: &DecoderConfig) -> Result<Self, Error> {
        let family = Family::of(&config.model_type)?;
        let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
        unsupported(config, gemma)?;
        let (ropes, layers) = ropes_and_layers(config, family)?;
        let query_scale = match config.query_pre_attn_scalar.filter(|_| gemma) {
            Some(scalar) => rsqrt(positive("query_pre_attn_scalar", scalar)?),
            None => rsqrt(config.heads().dim as f32),
        };
        let cap = |name, value: Option<f64>| value.map(|x| positive(name, x)).transpose();
        let attention = config.attention_bias;
        Ok(Self {
            family,
            norm_offset: if gemma { 1.0 } else { 0.0 },
            post_norms: gemma,
            query_key_norms: matches!(family, Family::Qwen3 | Family::Gemma3),
            activation: if gemma { Activation::GeluTanh } else { Activation::Silu },
            embedding_scale: if gemma { (config.hidden_size as f64).sqrt() as f32 } else { 1.0 },
            query_scale,
            // Gemma 3 has the setting and does not read it.
            attention_soft_cap: match family {
                Family::Gemma2 => cap("attn_logit_softcapping", config.attn_logit_softcapping)?,
                _ => None,
            },
            logit_soft_cap: cap("final_logit_softcapping", config.final_logit_softcapping)?,
            biases: Biases {
                query_key_value: attention || family == Family::Qwen2,
                output: attention,
                feed_forward: config.mlp_bias,
            },
            ropes,
            layers,
        })
    }
}

fn positive(name: &str, x: f64) -> Result<f32, Error> {
    if x > 0.0 && x <= SCALE_MAX { Ok(x as f32) } else { refuse(format!("{name} is {x}")) }
}

/// What would be computed wrongly.
fn unsupported(config: &DecoderConfig, gemma: bool) -> Result<(), Error> {
    let family = &config.model_type;
    let (name, act, wanted) = match (&config.hidden_activation, gemma) {
        (Some(act), true) => ("hidden_activation", act, "gelu_pytorch_tanh"),
        (None, true) => ("hidden_act", &config.hidden_act, "gelu_pytorch_tanh"),
        (_, false) => ("hidden_act", &config.hidden_act, "silu"),
    };
    if act != wanted {
        return refuse(format!("{name} {act:?} is not supported for {family}, only {wanted:?} is"));
    }
    if config.mlp_bias && family != "llama" {
        return refuse(format!("mlp_bias is not supported for {family}"));
    }
    if !gemma
        && (config.attn_logit_softcapping.is_some() || config.final_logit_softcapping.is_some())
    {
        return refuse(format!("soft caps are not supported for {family}"));
    }
    if family == "llama" && config.sliding_window.is_some() {
        return refuse("sliding_window is not supported for llama");
    }
    Ok(())
}

/// The rotary embeddings, and which layers slide.
fn ropes_and_layers(
    config: &DecoderConfig,
    family: Family,
) -> Result<(Vec<Rope>, Vec<LayerRule>), Error> {
    let sliding = sliding_layers(config, family)?;
    let window = match config.sliding_window {
        Some(0) => return refuse("sliding_window is 0"),
        window => window,
    };
    if sliding.contains(&true) && window.is_none() {
        return refuse("sliding layers without sliding_window");
    }
    let parameters = config.rope_parameters.as_ref();
    let scaling = config.rope_scaling.as_ref();
    let (ropes, local) = if family == Family::Gemma3 {
        // Newer files name the settings by kind of layer; older ones scale the global layers alone.
        let of = |kind: &str| parameters.and_then(|p| p.get(kind)).filter(|v| !v.is_null());
        let global = Rope::read(config.rope_theta, of("full_attention").or(scaling))?;
        let local = config.rope_local_base_freq.unwrap_or(1e4);
        (vec![global, Rope::read(local, of("sliding_attention"))?], 1)
    } else {
        (vec![Rope::read(config.rope_theta, parameters.or(scaling))?], 0)
    };
    if family == Family::Gemma2 && ropes[0].scaling != RopeScaling::None {
        return refuse("scaled rotary embeddings are not supported for gemma2");
    }
    let layer = |sliding: bool| LayerRule {
        window: window.filter(|_| sliding),
        rope: if sliding { local } else { 0 },
    };
    Ok((ropes, sliding.into_iter().map(layer).collect()))
}

/// For each layer whether it attends to a window only.
fn sliding_layers(config: &DecoderConfig, family: Family) -> Result<Vec<bool>, Error> {
    let n = config.num_hidden_layers;
    if let Some(types) = &config.layer_types {
        if types.len() != n {
            return refuse(format!("layer_types has {} entries for {n} layers", types.len()));
        }
        let kind = |kind: &String| match kind.as_str() {
            "full_attention" => Ok(false),
            "sliding_attention" if family != Family::Llama => Ok(true),
            other => refuse(format!("layer type {other:?} is not supported")),
        };
        let sliding = types.iter().map(kind).collect::<Result<Vec<_>, _>>()?;
        // Qwen's window is off unless it is asked for, whatever the layers are called.
        let off = matches!(family, Family::Qwen2 | Family::Qwen3)
            && config.use_sliding_window == Some(false)
            && sliding.contains(&true);
        return if off {
            refuse("layer_types slide but use_sliding_window is false")
        } else {
            Ok(sliding)
        };
    }
    let every = |pattern: usize| (0..n).map(|i| !(i + 1).is_multiple_of(pattern)).collect();
    Ok(match family {
        Family::Llama => vec![false; n],
        Family::Qwen2 | Family::Qwen3 => {
            let on = config.use_sliding_window == Some(true) && config.sliding_window.is_some();
            let first = config.max_window_layers.unwrap_or(28);
            (0..n).map(|i| on && i >= first).collect()
        }
        Family::Gemma2 => every(2),
        Family::Gemma3 => match config.sliding_window_pattern {
            Some(0) => return refuse("sliding_window_pattern is 0"),
            pattern => every(pattern.unwrap_or(6)),
        },
    })
}
