//! A row's bits depend on its own text and its own adapter.

use crate::tiny;
use openledger_model::{Adapter, Decoder, KvCache, ScoreRequest, Site, Slice, UNITS_PER_NAT};
use openledger_tensor::{SimdLevel, with_threads};
use proptest::prelude::*;

fn step(
    base: &Decoder,
    tokens: &[u32],
    cache: &mut KvCache,
    adapter: Option<&Adapter>,
) -> Vec<f32> {
    base.step(&mut [Slice { tokens, cache, adapter }]).expect("fits").remove(0)
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_text_read_in_pieces_gives_the_logits_of_a_text_read_whole(
        n in 1usize..80, cuts in prop::collection::vec(1usize..40, 0..6), adapted in any::<bool>(), seed in any::<u64>()
    ) {
        let base = tiny::decoder(1);
        let adapter = adapted.then(|| tiny::adapter(4, &Site::ALL, 5));
        let text = tiny::tokens(n, seed);
        let whole = base.all_logits(&text, adapter.as_ref()).expect("fits");
        let mut cache = KvCache::new(base.config(), n);
        let mut at = 0;
        // The pieces first, then token by token.
        for piece in cuts.into_iter().chain(std::iter::repeat(1)) {
            if at == n {
                break;
            }
            let end = (at + piece).min(n);
            let logits = step(&base, &text[at..end], &mut cache, adapter.as_ref());
            prop_assert_eq!(bits(&logits), bits(&whole[end - 1]));
            at = end;
        }
    }

    #[test]
    fn the_rest_of_the_batch_changes_nothing(seed in any::<u64>(), n in 1usize..30) {
        let base = tiny::decoder(2);
        let adapters =
            [tiny::adapter(3, &Site::ALL, 1), tiny::adapter(8, &[Site::Query, Site::Down], 2)];
        let of = |i: usize| [None, Some(&adapters[0]), Some(&adapters[1])][i % 3];
        let texts: Vec<_> = (0..5).map(|i| tiny::tokens(1 + (n * (i + 1)) % 37, seed ^ i as u64)).collect();
        let mut caches: Vec<_> = (0..5).map(|_| KvCache::new(base.config(), 60)).collect();
        let mut slices: Vec<_> = texts.iter().zip(&mut caches).enumerate()
            .map(|(i, (tokens, cache))| Slice { tokens, cache, adapter: of(i) })
            .collect();
        let together = base.step(&mut slices).expect("fits");
        for (i, text) in texts.iter().enumerate() {
            let mut cache = KvCache::new(base.config(), 60);
            let alone = step(&base, text, &mut cache, of(i));
            prop_assert_eq!(bits(&together[i]), bits(&alone));
            // And the caches hold the same: one more token, alone and from the batch's cache.
            let next = [7];
            let one = step(&base, &next, &mut cache, of(i));
            let other = step(&base, &next, &mut caches[i], of(i));
            prop_assert_eq!(bits(&one), bits(&other));
        }
    }
}

#[test]
fn scores_are_the_same_alone_and_in_a_mixed_batch_on_every_path() {
    let base = tiny::decoder(3);
    let adapters =
        [tiny::adapter(3, &Site::ALL, 1), tiny::adapter(5, &[Site::Value, Site::Gate], 2)];
    let texts: Vec<_> = (0..7).map(|i| tiny::tokens(2 + 13 * i, i as u64)).collect();
    let requests: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(i, tokens)| ScoreRequest {
            tokens,
            answer_start: 1 + i * 6,
            adapter: [Some(&adapters[0]), None, Some(&adapters[1])][i % 3],
        })
        .collect();
    let alone: Vec<Vec<i64>> =
        requests.iter().map(|r| base.log_likelihoods(&[*r]).expect("fits").remove(0)).collect();
    // No other test of this binary forces a path.
    for level in SimdLevel::available() {
        level.force();
        for threads in [1, 2, 4] {
            let together = with_threads(threads, || base.log_likelihoods(&requests).expect("fits"));
            assert_eq!(together, alone, "{level:?}, {threads} threads");
        }
    }
    assert!(alone.iter().flatten().all(|units| *units < 0));
    // Golden: the same in debug and release and on every machine.
    assert_eq!(alone[0], [-4624531]);
    assert_eq!(alone.iter().flatten().sum::<i64>(), -787618923);
}

#[test]
fn a_score_is_the_logarithm_of_the_probability_that_the_logits_give() {
    let base = tiny::decoder(4);
    let text = tiny::tokens(40, 9);
    let logits = base.all_logits(&text, None).expect("fits");
    let request = ScoreRequest { tokens: &text, answer_start: 11, adapter: None };
    let scores = base.log_likelihoods(&[request]).expect("fits").remove(0);
    assert_eq!(scores.len(), 29);
    for (i, units) in scores.iter().enumerate() {
        let row = &logits[10 + i];
        let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        let expected = f64::from(row[text[11 + i] as usize]) - sum.ln();
        assert!((*units as f64 / UNITS_PER_NAT - expected).abs() < 1e-5);
    }
}

#[test]
fn a_shortened_cache_goes_on_as_if_the_rest_had_never_been_read() {
    let base = tiny::decoder(5);
    let (text, other) = (tiny::tokens(40, 1), tiny::tokens(20, 2));
    let mut cache = KvCache::new(base.config(), 60);
    step(&base, &text, &mut cache, None);
    cache.truncate(17);
    let shortened = step(&base, &other, &mut cache, None);
    let mut fresh = KvCache::new(base.config(), 60);
    step(&base, &text[..17], &mut fresh, None);
    assert_eq!(bits(&shortened), bits(&step(&base, &other, &mut fresh, None)));
    cache.clear();
    assert!(cache.is_empty() && cache.bytes() > 0);
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let base = tiny::decoder(6);
    let mut cache = KvCache::new(base.config(), 4);
    let foreign = {
        let config = openledger_model::DecoderConfig::llama(48, 2, (4, 2), 48, 64, 96);
        let layout = openledger_model::LoraLayout::new(&config, 2, 4.0, &Site::ALL);
        Adapter::new(layout.clone(), &vec![0.0; layout.len()]).expect("finite")
    };
    for (tokens, adapter) in
        [(&[][..], None), (&[1; 5][..], None), (&[64][..], None), (&[1][..], Some(&foreign))]
    {
        assert!(base.step(&mut [Slice { tokens, cache: &mut cache, adapter }]).is_err());
        assert!(cache.is_empty());
    }
    for (tokens, answer_start) in
        [(vec![1, 2], 0), (vec![1, 2], 2), (vec![1; 98], 1), (vec![1, 99], 1)]
    {
        let request = ScoreRequest { tokens: &tokens, answer_start, adapter: None };
        assert!(base.log_likelihoods(&[request]).is_err());
    }
}
