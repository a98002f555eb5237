//! `adapter_config.json` of PEFT: which modules carry an update, of which rank and scale.
//!
//! **Invariant:** a setting that changes the result is either read as PEFT reads it or refused by name.

use crate::{Error, RANK_MAX, Site};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use std::collections::HashMap;

/// Alphas that are taken for one: far beyond any in use, and no scale leaves f32.
const ALPHA_MIN: f64 = 1e-12;
const ALPHA_MAX: f64 = 1e12;
/// Most entries of a pattern or of `target_modules`.
const ENTRIES_MAX: usize = 4096;

/// The parts of `adapter_config.json` that decide the arithmetic. PEFT writes many more; those that would
/// change the result are refused by name.
#[derive(Deserialize)]
pub(crate) struct PeftConfig {
    peft_type: String,
    r: u64,
    lora_alpha: f64,
    target_modules: Value,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    use_rslora: Option<bool>,
    #[serde(default)]
    rank_pattern: Option<Pattern>,
    #[serde(default)]
    alpha_pattern: Option<Pattern>,
    #[serde(default)]
    layers_to_transform: Option<Value>,
    #[serde(default)]
    layers_pattern: Option<Value>,
    #[serde(default)]
    init_lora_weights: Option<Value>,
    #[serde(flatten)]
    rest: HashMap<String, Value>,
}

/// Settings that must be absent, null, false or empty, and what they would ask for.
const REFUSED: [(&str, &str); 15] = [
    ("use_dora", "DoRA"),
    ("modules_to_save", "modules_to_save"),
    ("lora_bias", "a bias on B"),
    ("layer_replication", "replicated layers"),
    ("fan_in_fan_out", "transposed weights"),
    ("use_qalora", "QALoRA"),
    ("trainable_token_indices", "trained tokens"),
    ("target_parameters", "target_parameters"),
    ("exclude_modules", "exclude_modules"),
    ("use_bdlora", "block-diagonal LoRA"),
    ("alora_invocation_tokens", "activated LoRA"),
    ("arrow_config", "routing between adapters"),
    ("monteclora_config", "sampled adapters"),
    ("kasa_config", "KaSA"),
    ("lora_ga_config", "a start that changes the base (LoRA-GA)"),
];

/// Starts that leave the base as it is; the others change its weights, so the adapter alone is not the model.
const HARMLESS_STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// Numbers by module name, in the order of the file: the first that matches counts.
struct Pattern(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Pattern;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("numbers by module name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pattern, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Pattern(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Pattern {
    /// The number of a module. A key stands for the name or for its end, `^` before it for the whole name.
    fn get(&self, module: &str) -> Option<f64> {
        let matches = |key: &str| match key.strip_prefix('^') {
            Some(whole) => module == whole,
            None => ends_with_name(module, key),
        };
        self.0.iter().find(|(key, _)| matches(key)).map(|(_, x)| *x)
    }

    /// Errors: [`Error::Adapter`] for a key that is a regular expression.
    fn check(&self, setting: &str) -> Result<(), Error> {
        if self.0.len() > ENTRIES_MAX {
            return Err(refuse(format!("{setting} has {} entries", self.0.len())));
        }
        let plain = |key: &str| is_plain(key.strip_prefix('^').unwrap_or(key));
        match self.0.iter().find(|(key, _)| !plain(key)) {
            Some((key, _)) => Err(refuse(format!(
                "{setting}: {key:?} is a regular expression; write the names of the modules"
            ))),
            None => Ok(()),
        }
    }
}

/// Whether `end` is the name or its last parts.
fn ends_with_name(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
}

fn refuse(why: impl Into<String>) -> Error {
    Error::Adapter(why.into())
}

/// Which modules, checked.
enum Targets {
    All,
    Names(Vec<String>),
}

/// The settings of an adapter, checked: what a module carries.
pub(crate) struct Plan {
    targets: Targets,
    layers: Option<Vec<u64>>,
    rank: u64,
    alpha: f64,
    stabilised: bool,
    ranks: Pattern,
    alphas: Pattern,
}

/// The update that one module carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SiteUpdate {
    pub(crate) rank: usize,
    pub(crate) scale: f32,
}

impl PeftConfig {
    /// Errors: [`Error::Adapter`] naming what is not supported.
    pub(crate) fn plan(self) -> Result<Plan, Error> {
        if self.peft_type != "LORA" {
            return Err(refuse(format!("peft_type is {}, only LORA is supported", self.peft_type)));
        }
        if let Some(bias) = self.bias.as_deref().filter(|b| *b != "none") {
            return Err(refuse(format!("bias is {bias:?}, only \"none\" is supported")));
        }
        for (name, what) in REFUSED {
            let off = match self.rest.get(name) {
                None | Some(Value::Null | Value::Bool(false)) => true,
                Some(Value::Array(a)) => a.is_empty(),
                Some(Value::Object(o)) => o.is_empty(),
                Some(_) => false,
            };
            if !off {
                return Err(refuse(format!("{what} is not supported ({name} is set)")));
            }
        }
        if let Some(Value::String(start)) = &self.init_lora_weights
            && !HARMLESS_STARTS.contains(&start.as_str())
        {
            return Err(refuse(format!(
                "init_lora_weights is {start:?}, which changes the base; convert it to a plain adapter"
            )));
        }
        let (ranks, alphas) = (pattern(self.rank_pattern), pattern(self.alpha_pattern));
        ranks.check("rank_pattern")?;
        alphas.check("alpha_pattern")?;
        let plan = Plan {
            targets: targets(&self.target_modules)?,
            layers: layers(self.layers_to_transform.as_ref(), self.layers_pattern.as_ref())?,
            rank: self.r,
            // As it is hashed and written again.
            alpha: f64::from(self.lora_alpha as f32),
            stabilised: self.use_rslora == Some(true),
            ranks,
            alphas,
        };
        // The numbers that every other module has are wrong even where no module has them.
        plan.update("")?;
        Ok(plan)
    }
}

fn pattern(pattern: Option<Pattern>) -> Pattern {
    pattern.unwrap_or(Pattern(Vec::new()))
}

fn targets(value: &Value) -> Result<Targets, Error> {
    let names = match value {
        Value::String(all) if all == "all-linear" => return Ok(Targets::All),
        Value::Array(names) => names,
        other => return Err(refuse(format!("target_modules {other} is not a list of names"))),
    };
    if names.is_empty() || names.len() > ENTRIES_MAX {
        return Err(refuse(format!("target_modules has {} names", names.len())));
    }
    let known = |name: &Value| {
        let text = name.as_str().unwrap_or_default();
        let last = text.rsplit('.').next().unwrap_or_default();
        if Site::ALL.into_iter().any(|site| site.name() == last) {
            return Ok(text.to_owned());
        }
        Err(refuse(format!("target module {name} is not a linear layer here")))
    };
    Ok(Targets::Names(names.iter().map(known).collect::<Result<_, _>>()?))
}

/// `layers_to_transform`: a number or a list of them.
fn layers(layers: Option<&Value>, names: Option<&Value>) -> Result<Option<Vec<u64>>, Error> {
    let plain = match names {
        None | Some(Value::Null) => true,
        Some(Value::String(name)) => name.is_empty() || name == "layers",
        Some(Value::Array(names)) => names.iter().all(|n| n == "layers"),
        Some(_) => false,
    };
    if !plain {
        return Err(refuse("layers_pattern is not \"layers\""));
    }
    let number = |value: &Value| {
        value.as_u64().ok_or_else(|| refuse(format!("layers_to_transform holds {value}")))
    };
    Ok(match layers {
        None | Some(Value::Null) => None,
        Some(Value::Array(all)) if all.is_empty() => None,
        Some(Value::Array(all)) => Some(all.iter().map(number).collect::<Result<_, _>>()?),
        Some(one) => Some(vec![number(one)?]),
    })
}

impl Plan {
    /// Alpha of the modules that no pattern names.
    pub(crate) fn alpha(&self) -> f32 {
        self.alpha as f32
    }

    /// What the module of a layer carries; nothing where it is no target.
    ///
    /// Errors: [`Error::Adapter`] for a rank outside 1 to [`RANK_MAX`] or an alpha that is not positive.
    pub(crate) fn site(&self, layer: usize, site: Site) -> Result<Option<SiteUpdate>, Error> {
        let module = format!("model.layers.{layer}.{}", site.path());
        let here = self.layers.as_ref().is_none_or(|layers| layers.contains(&(layer as u64)));
        let target = match &self.targets {
            Targets::All => here,
            // A whole name counts in every layer, as in PEFT.
            Targets::Names(names) => {
                names.iter().any(|name| *name == module || here && ends_with_name(&module, name))
            }
        };
        if target { self.update(&module).map(Some) } else { Ok(None) }
    }

    fn update(&self, module: &str) -> Result<SiteUpdate, Error> {
        let rank = self.ranks.get(module).unwrap_or(self.rank as f64);
        let alpha = self.alphas.get(module).unwrap_or(self.alpha);
        if rank.fract() != 0.0 || rank < 1.0 || rank > RANK_MAX as f64 {
            return Err(refuse(format!("rank {rank} {module} is outside 1 to {RANK_MAX}")));
        }
        if !(ALPHA_MIN..=ALPHA_MAX).contains(&alpha) {
            return Err(refuse(format!("lora_alpha {alpha} {module} is not a positive number")));
        }
        // In f64, then rounded: as Python does it, and for alpha in f32 the very quotient in f32.
        let scale = alpha / if self.stabilised { rank.sqrt() } else { rank };
        Ok(SiteUpdate { rank: rank as usize, scale: scale as f32 })
    }
}
