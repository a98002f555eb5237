//! PEFT folders: `adapter_config.json` and `adapter_model.safetensors`.

use crate::adapter::transpose;
use crate::lora::SiteLayout;
use crate::peft_config::PeftConfig;
use crate::tensor_file::TensorFile;
use crate::weight_files::{Stored, read_capped, serialize, write_whole};
use crate::{Adapter, Decoder, Error, LoraLayout, Named, Site};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Largest `adapter_config.json` that is read.
pub const ADAPTER_CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Largest `adapter_model.safetensors` that is read.
pub const ADAPTER_BYTES_MAX: u64 = 2 << 30;

const CONFIG_FILE: &str = "adapter_config.json";
const WEIGHT_FILE: &str = "adapter_model.safetensors";

fn refuse(why: impl Into<String>) -> Error {
    Error::Adapter(why.into())
}

/// What stands before `layers.0.self_attn.q_proj` and so on: for a text model, and for one inside a model
/// that sees pictures, older and newer.
const PREFIXES: [&str; 3] = [
    "base_model.model.model.",
    "base_model.model.language_model.model.",
    "base_model.model.model.language_model.",
];

/// `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
fn tensor_name(prefix: &str, layer: usize, site: Site, part: char) -> String {
    format!("{prefix}layers.{layer}.{}.lora_{part}.weight", site.path())
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
        let plan = config.plan()?;
        let layout =
            LoraLayout::of(base.config(), plan.alpha(), |layer, site| plan.site(layer, site))?;
        if layout.is_empty() {
            return Err(refuse("target_modules and layers_to_transform leave no layer to adapt"));
        }
        if layout.len() * 2 > weights.len() {
            let (n, file) = (layout.len(), weights.len());
            return Err(refuse(format!("{n} values do not fit in a file of {file} bytes")));
        }
        let in_file = |why: String| refuse(format!("{WEIGHT_FILE}: {why}"));
        let mut file = TensorFile::from_bytes(weights).map_err(in_file)?;
        let mut unknown: BTreeSet<String> = file.header.names().map(str::to_owned).collect();
        let prefix = PREFIXES
            .into_iter()
            .find(|p| unknown.iter().any(|name| name.starts_with(&format!("{p}layers."))));
        let prefix = prefix.unwrap_or(PREFIXES[0]);
        let mut values = vec![0.0; layout.len()];
        for (layer, groups) in layout.layers.iter().enumerate() {
            for group in groups {
                for site in &group.sites {
                    let mut read = |part, shape: [usize; 2]| {
                        let name = tensor_name(prefix, layer, site.site, part);
                        unknown.remove(&name);
                        match file.header.shape(&name) {
                            None => return Err(refuse(format!("{name} is missing"))),
                            Some(is) if is != shape => {
                                return Err(refuse(format!(
                                    "{name} is {is:?}, the base needs {shape:?}"
                                )));
                            }
                            Some(_) => {}
                        }
                        let mut data = vec![0.0; shape.iter().product()];
                        let mut to =
                            Named { name: name.clone(), shape: shape.into(), data: &mut data[..] };
                        let read = file.read(&name, &mut to);
                        read.map_err(|why| refuse(format!("{name}: {why}")))?;
                        Ok(data)
                    };
                    let a = read('A', [site.rank, group.inputs])?;
                    let b = read('B', [site.outputs, site.rank])?;
                    let at = group.a.start + site.first * group.inputs;
                    values[at..at + a.len()].copy_from_slice(&a);
                    values[site.b_transposed.clone()].copy_from_slice(&transpose(
                        site.outputs,
                        site.rank,
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
        let mut config = json!({
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
        if !layout.uniform {
            // Every module by its whole name, with the alpha that gives its scale.
            let modules = || layout.pairs(&self.values).map(|(layer, site, ..)| (layer, site));
            let name =
                |layer, site: &SiteLayout| format!("model.layers.{layer}.{}", site.site.path());
            let by_module = |number: fn(&SiteLayout) -> Value| -> Value {
                modules().map(|(layer, site)| (name(layer, site), number(site))).collect()
            };
            config["target_modules"] = modules().map(|(l, s)| name(l, s)).collect();
            config["rank_pattern"] = by_module(|s| s.rank.into());
            config["alpha_pattern"] = by_module(|s| (f64::from(s.scale) * s.rank as f64).into());
        }
        let mut tensors = Vec::new();
        for (layer, site, a, b_transposed) in layout.pairs(&self.values) {
            let (rank, outputs) = (site.rank, site.outputs);
            let b = transpose(rank, outputs, b_transposed);
            let name = |part| tensor_name(PREFIXES[0], layer, site.site, part);
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
