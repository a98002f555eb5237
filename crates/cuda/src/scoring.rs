//! Exact log-likelihoods of answers on the device: the bits of `openledger_model::Decoder::log_likelihoods`.

use crate::decoder::{DeviceConfig, DeviceDecoder, page_bytes};
use crate::{DeviceForm, Error};
use openledger_model::serving::{
    BatchRows, BlendRows, KvForm, PAGE_TOKENS, PageId, SequenceStep, ServingAdapter,
};
use openledger_model::{Adapter, ScoreRequest, UNITS_PER_NAT};
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of one pass; bounds memory, changes no bit.
const ROWS_MAX: usize = 4096;
/// Rows whose logits are held at once.
const CHUNK: usize = 256;
/// Pages besides those of full sequences, for the last page of each being part full.
const PAGES_SPARE: usize = 128;

type Blend = Vec<(Arc<ServingAdapter>, f32)>;

/// Scores answers under many adapters on a device. Made by [`DeviceDecoder::scorer`].
#[derive(Debug)]
pub struct DeviceScorer {
    decoder: DeviceDecoder,
    /// Adapters as the device takes them, by the hash of the adapter.
    packed: HashMap<[u8; 32], Arc<ServingAdapter>>,
    packed_bytes: usize,
    adapter_bytes: usize,
}

impl DeviceDecoder {
    /// A scorer that shares these weights and has pages of its own, and room for `adapter_bytes` of adapters.
    ///
    /// Errors: [`Error::Model`] unless weights are kept in f32; [`Error::Memory`].
    pub fn scorer(&self, adapter_bytes: usize) -> Result<DeviceScorer, Error> {
        if self.form() != DeviceForm::F32 {
            return refuse(
                "only weights in f32 score exactly; put the model on the device in f32".into(),
            );
        }
        let pages =
            ROWS_MAX.max(self.config().max_position_embeddings).div_ceil(PAGE_TOKENS) + PAGES_SPARE;
        let kv_bytes = pages * page_bytes(self.config(), KvForm::F32);
        let config =
            DeviceConfig { form: DeviceForm::F32, kv_form: KvForm::F32, kv_bytes, adapter_bytes };
        let decoder = self.sharing(config)?;
        Ok(DeviceScorer { decoder, packed: HashMap::new(), packed_bytes: 0, adapter_bytes })
    }
}

fn refuse<T>(why: String) -> Result<T, Error> {
    Err(openledger_model::Error::Request(why).into())
}

impl DeviceScorer {
    /// ln p of every answer token given all before it, in units of 2⁻²⁰ nat: to the bit what
    /// [`Decoder::log_likelihoods`](openledger_model::Decoder::log_likelihoods) returns, and the same errors as
    /// [`Error::Model`]; those of the device besides.
    pub fn log_likelihoods(
        &mut self,
        requests: &[ScoreRequest<'_>],
    ) -> Result<Vec<Vec<i64>>, Error> {
        let max = self.decoder.config().max_position_embeddings + 1;
        for r in requests {
            if r.answer_start == 0 || r.answer_start >= r.tokens.len() || r.tokens.len() > max {
                return refuse(format!(
                    "{} tokens with the answer from {}, must be at most {max} with both a prompt and an answer",
                    r.tokens.len(),
                    r.answer_start
                ));
            }
            // The last token is never read, so the step does not look at it.
            let vocab = self.decoder.config().vocab_size;
            if let Some(token) = r.tokens.iter().find(|t| **t as usize >= vocab) {
                return refuse(format!("token {token} is outside the vocabulary"));
            }
        }
        let mut results = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let (mut rows, mut pages) = (0, 0);
            let fits = |r: &&ScoreRequest<'_>| {
                rows += r.tokens.len() - 1;
                pages += (r.tokens.len() - 1).div_ceil(PAGE_TOKENS);
                rows <= ROWS_MAX && pages <= self.decoder.pages()
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            self.score(now, &mut results)?;
            rest = later;
        }
        Ok(results)
    }

    fn score(
        &mut self,
        requests: &[ScoreRequest<'_>],
        results: &mut Vec<Vec<i64>>,
    ) -> Result<(), Error> {
        let blends: Vec<Blend> = requests
            .iter()
            .map(|r| r.adapter.map(|adapter| (self.packed(adapter), 1.0)).into_iter().collect())
            .collect();
        let mut page = 0;
        let pages: Vec<Vec<PageId>> = requests
            .iter()
            .map(|r| {
                let from = page;
                page += (r.tokens.len() - 1).div_ceil(PAGE_TOKENS) as u32;
                (from..page).map(PageId).collect()
            })
            .collect();
        let steps: Vec<SequenceStep<'_>> = requests
            .iter()
            .zip(&blends)
            .zip(&pages)
            .map(|((r, adapters), pages)| SequenceStep {
                tokens: &r.tokens[..r.tokens.len() - 1],
                before: 0,
                pages,
                adapters,
                logits_wanted: true,
            })
            .collect();
        let mut rows = self.decoder.rows(&steps)?;
        want_answers(&mut rows, requests, &blends);
        let targets: Vec<u32> =
            requests.iter().flat_map(|r| &r.tokens[r.answer_start..]).copied().collect();
        self.decoder.run(&rows)?;
        let mut likelihoods = Vec::with_capacity(targets.len());
        for (i, targets) in targets.chunks(CHUNK).enumerate() {
            likelihoods.extend(self.decoder.likelihoods_of(i * CHUNK, targets)?);
        }
        if likelihoods.iter().any(|l| !l.is_finite()) {
            return refuse("a log-likelihood is not finite".into());
        }
        let mut likelihoods = likelihoods.into_iter();
        for r in requests {
            let answer = likelihoods.by_ref().take(r.tokens.len() - r.answer_start);
            let units = |l: f32| (f64::from(l) * UNITS_PER_NAT).round_ties_even() as i64;
            results.push(answer.map(units).collect());
        }
        Ok(())
    }

    /// An adapter as the device takes it; packed once, as long as there is room.
    fn packed(&mut self, adapter: &Adapter) -> Arc<ServingAdapter> {
        if let Some(packed) = self.packed.get(&adapter.hash()) {
            return Arc::clone(packed);
        }
        let packed = Arc::new(ServingAdapter::new(adapter));
        if self.packed_bytes + packed.bytes() > self.adapter_bytes {
            self.packed.clear();
            self.packed_bytes = 0;
        }
        self.packed_bytes += packed.bytes();
        self.packed.insert(adapter.hash(), Arc::clone(&packed));
        packed
    }
}

/// The rows before each answer token are wanted, with their adapters.
fn want_answers<'a>(rows: &mut BatchRows<'a>, requests: &[ScoreRequest<'_>], blends: &'a [Blend]) {
    rows.wanted.clear();
    rows.wanted_blends.clear();
    let mut start = 0;
    for (r, adapters) in requests.iter().zip(blends) {
        let (first, end) = (rows.wanted.len(), start + r.tokens.len() - 1);
        rows.wanted.extend(start + r.answer_start - 1..end);
        if !adapters.is_empty() {
            rows.wanted_blends.push(BlendRows { rows: first..rows.wanted.len(), adapters });
        }
        start = end;
    }
}
