//! PEFT folders: `adapter_config.json` and `adapter_model.safetensors`.

use crate::adapter::transpose;
use crate::weight_files::{Stored, copy_tensor, parse, read_capped, serialize, write_whole};
use crate::{Adapter, Decoder, Error, LoraLayout, Named, RANK_MAX, Site};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Largest `adapter_config.json` that is read.
pub const ADAPTER_CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Largest `adapter_model.safetensors` that is read.
pub const ADAPTER_BYTES_MAX: u64 = 2 << 30;

const CONFIG_FILE: &str = "adapter_config.json";
const WEIGHT_FILE: &str = "adapter_model.safetensors";

/// The parts of `adapter_config.json` that decide the arithmetic. PEFT writes many more; those that would
/// change the result are refused by name.
#[derive(Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    target_modules: Value,
    #[serde(default)]
    bias: Option<String>,
    #[serde(flatten)]
    rest: HashMap<String, Value>,
}

/// Settings that must be absent, null, false or empty, and what they would ask for.
const REFUSED: [(&str, &str); 16] = [
    ("use_dora", "DoRA"),
    ("modules_to_save", "modules_to_save"),
    ("use_rslora", "rank-stabilised scaling"),
    ("rank_pattern", "a rank per module"),
    ("alpha_pattern", "an alpha per module"),
    ("lora_bias", "a bias on B"),
    ("layers_to_transform", "a subset of the layers"),
    ("layer_replication", "replicated layers"),
    ("fan_in_fan_out", "transposed weights"),
    ("use_qalora", "QALoRA"),
    ("trainable_token_indices", "trained tokens"),
    ("target_parameters", "target_parameters"),
    ("exclude_modules", "exclude_modules"),
    ("use_bdlora", "block-diagonal LoRA"),
    ("alora_invocation_tokens", "activated LoRA"),
    ("arrow_config", "routing between adapters"),
];

fn refuse(why: impl Into<String>) -> Error {
    Error::Adapter(why.into())
}

impl PeftConfig {
    /// Errors: [`Error::Adapter`] naming what is not supported.
    fn sites(&self) -> Result<Vec<Site>, Error> {
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
        if self.r == 0 || self.r > RANK_MAX {
            return Err(refuse(format!("rank {} is outside 1 to {RANK_MAX}", self.r)));
        }
        if !(self.lora_alpha.is_finite() && self.lora_alpha > 0.0) {
            return Err(refuse(format!("lora_alpha is {}", self.lora_alpha)));
        }
        let names = match &self.target_modules {
            Value::String(all) if all == "all-linear" => return Ok(Site::ALL.to_vec()),
            Value::Array(names) => names,
            other => return Err(refuse(format!("target_modules {other} is not a list of names"))),
        };
        if names.is_empty() {
            return Err(refuse("target_modules is empty"));
        }
        let site = |name: &Value| {
            let known = Site::ALL.into_iter().find(|s| name.as_str() == Some(s.name()));
            known.ok_or_else(|| refuse(format!("target module {name} is not a linear layer here")))
        };
        names.iter().map(site).collect()
    }
}

/// `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
fn tensor_name(layer: usize, site: Site, part: char) -> String {
    format!("base_model.model.model.layers.{layer}.{}.lora_{part}.weight", site.path())
}

impl Adapter {
    /// Reads a PEFT folder made for this base.
    ///
    /// Values are rounded to bf16, which changes nothing for files stored in bf16. Errors:
    /// [`Error::TooLarge`] before anything is read; [`Error::Adapter`] for DoRA, biases, `modules_to_save`
    /// and everything else that this engine would silently get wrong, for missing or unknown tensors,
    /// for shapes that are not the base's, for values that are not finite.
    pub fn load(dir: &Path, base: &Decoder) -> Result<Self, Error> {
        let config = read_capped(&dir.join(CONFIG_FILE), ADAPTER_CONFIG_BYTES_MAX)?;
        let weights = read_capped(&dir.join(WEIGHT_FILE), ADAPTER_BYTES_MAX)?;
        Self::from_bytes(&config, &weights, base)
    }

    /// As [`Self::load`], from the content of the two files.
    pub fn from_bytes(config: &[u8], weights: &[u8], base: &Decoder) -> Result<Self, Error> {
        let config: PeftConfig =
            serde_json::from_slice(config).map_err(|e| refuse(format!("{CONFIG_FILE}: {e}")))?;
        let sites = config.sites()?;
        let layout = LoraLayout::new(base.config(), config.r, config.lora_alpha as f32, &sites);
        if layout.len() * 2 > weights.len() {
            let (n, file) = (layout.len(), weights.len());
            return Err(refuse(format!("{n} values do not fit in a file of {file} bytes")));
        }
        let file = parse(weights).map_err(|e| refuse(format!("{WEIGHT_FILE}: {e}")))?;
        let mut unknown: BTreeSet<&str> = file.names().into_iter().collect();
        let mut values = vec![0.0; layout.len()];
        for (layer, groups) in layout.layers.iter().enumerate() {
            for group in groups {
                let rows = layout.rank * group.inputs;
                for (i, site) in group.sites.iter().enumerate() {
                    let mut read = |part, shape: Vec<usize>| {
                        let name = tensor_name(layer, site.site, part);
                        let view =
                            file.tensor(&name).map_err(|_| refuse(format!("{name} is missing")))?;
                        unknown.remove(name.as_str());
                        if view.shape() != shape {
                            let is = view.shape();
                            return Err(refuse(format!(
                                "{name} is {is:?}, the base needs {shape:?}"
                            )));
                        }
                        let mut data = vec![0.0; shape.iter().product()];
                        copy_tensor(&view, &mut Named { name, shape, data: &mut data[..] })
                            .map_err(|e| refuse(e.to_string()))?;
                        Ok(data)
                    };
                    let a = read('A', vec![layout.rank, group.inputs])?;
                    let b = read('B', vec![site.outputs, layout.rank])?;
                    values[group.a.clone()][i * rows..][..rows].copy_from_slice(&a);
                    values[site.b_transposed.clone()].copy_from_slice(&transpose(
                        site.outputs,
                        layout.rank,
                        &b,
                    ));
                }
            }
        }
        if let Some(name) = unknown.first() {
            return Err(refuse(format!("{name} has no place in the base")));
        }
        Self::new(layout, &values)
    }

    /// The content of the two files of a PEFT folder: `adapter_config.json`, `adapter_model.safetensors`.
    ///
    /// A function of the adapter and the name only.
    pub fn to_bytes(&self, base_name: &str) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let layout = &self.layout;
        let config = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_name,
            "r": layout.rank,
            "lora_alpha": layout.alpha,
            "lora_dropout": 0.0,
            "target_modules": layout.sites,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "use_dora": false,
            "use_rslora": false,
            "modules_to_save": null,
        });
        let mut tensors = Vec::new();
        for (layer, site, a, b_transposed) in layout.pairs(&self.values) {
            let (rank, outputs) = (layout.rank, site.outputs);
            let b = transpose(rank, outputs, b_transposed);
            let name = |part| tensor_name(layer, site.site, part);
            tensors.push(Stored::bf16(name('A'), vec![rank, a.len() / rank], a));
            tensors.push(Stored::bf16(name('B'), vec![outputs, rank], &b));
        }
        let mut json = serde_json::to_vec_pretty(&config)
            .map_err(|e| refuse(format!("{CONFIG_FILE}: {e}")))?;
        json.push(b'\n');
        let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
        Ok((json, serialize(&tensors, metadata)?))
    }

    /// Writes a PEFT folder that Hugging Face PEFT loads.
    pub fn save(&self, dir: &Path, base_name: &str) -> Result<(), Error> {
        let (config, weights) = self.to_bytes(base_name)?;
        std::fs::create_dir_all(dir).map_err(Error::file(dir))?;
        write_whole(&dir.join(WEIGHT_FILE), &weights)?;
        write_whole(&dir.join(CONFIG_FILE), &config)
    }
}
