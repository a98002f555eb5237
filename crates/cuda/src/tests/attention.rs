//! Attention over pages.

use super::{bits, down, ids, normals, room, up};
use crate::backend::Buffer;
use crate::kernels::{self, LayerPages, Places};
use openledger_tensor::{
    AttentionRule, Heads, KvForm, PAGE_TOKENS, PagedKv, PagedRows, Random, paged_attention,
};
use proptest::prelude::*;

struct Sequence {
    before: usize,
    new: usize,
    pages: Vec<u32>,
}

/// Writes the keys and values of some sequences and attends to them, on the device and on the processor.
fn both(
    rule: AttentionRule,
    form: KvForm,
    sequences: &[(usize, usize)],
    seed: u64,
) -> (Vec<f32>, Vec<f32>) {
    let (heads, layers, layer) = (rule.heads, 2, 1);
    let mut random = Random::new(seed, 0);
    let needed = |n: usize| n.div_ceil(PAGE_TOKENS);
    let count: usize =
        sequences.iter().map(|(before, new)| needed(before + new)).sum::<usize>() + 1;
    let mut free: Vec<u32> = (0..count as u32).collect();
    random.shuffle(&mut free);
    let sequences: Vec<Sequence> = sequences
        .iter()
        .map(|(before, new)| {
            let pages = free.split_off(free.len() - needed(before + new));
            Sequence { before: *before, new: *new, pages }
        })
        .collect();
    let (mut kv, device) = (PagedKv::new(heads, layers, form, count), super::device());
    let size = if form == KvForm::F32 { 4 } else { 2 };
    let elements = count * layers * heads.key_value * kernels::head_elements(heads);
    // What an earlier owner left.
    let there = Buffer::of(&device, &vec![0x7fu8; elements * size]).expect("memory");
    let mut run = |rows: &[(usize, usize, &Sequence)], attend: bool| {
        let n: usize = rows.iter().map(|(_, new, _)| new).sum();
        let qkv = normals(n * heads.row(), &mut random);
        let (mut positions, mut table, mut pages) = (Vec::new(), Vec::new(), Vec::new());
        let (mut paged, mut row) = (Vec::new(), 0);
        for (before, new, sequence) in rows {
            positions.extend((*before..before + new).map(|p| p as u32));
            table.extend((0..*new).map(|_| pages.len() as u32));
            pages.extend_from_slice(&sequence.pages);
            let part = &qkv[row * heads.row()..(row + new) * heads.row()];
            kv.write(heads, layer, &sequence.pages, *before, part);
            paged.push(PagedRows { rows: row..row + new, before: *before, pages: &sequence.pages });
            row += new;
        }
        let there_too = up(&device, &qkv);
        let (pages, table, positions) =
            (ids(&device, &pages), ids(&device, &table), ids(&device, &positions));
        let places = Places { rows: n, pages: &pages, table: &table, positions: &positions };
        let of_layer = LayerPages { kv: &there, form, layer, layers };
        kernels::write_kv(rule, &there_too, of_layer, places).expect("runs");
        if !attend {
            return (Vec::new(), Vec::new());
        }
        let mut expected = vec![0.0; n * heads.query * heads.dim];
        paged_attention(rule, &qkv, &kv, layer, &paged, &mut expected);
        let out = room(&device, expected.len());
        kernels::attend(rule, &there_too, of_layer, places, &out).expect("runs");
        (down(&out, expected.len()), expected)
    };
    let first: Vec<_> =
        sequences.iter().filter(|s| s.before > 0).map(|s| (0, s.before, s)).collect();
    let second: Vec<_> = sequences.iter().map(|s| (s.before, s.new, s)).collect();
    run(&first, false);
    run(&second, true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn attention_has_the_bits_of_the_processor(
        sequences in prop::collection::vec((0usize..50, 1usize..12), 1..4), key_value in 1usize..3,
        group in 1usize..9, half in 1usize..80, window in prop::option::of(1usize..50),
        soft_cap in prop::option::of(0.5f32..5.0), half_pages in any::<bool>(), seed in any::<u64>()
    ) {
        let heads = Heads { query: key_value * group, key_value, dim: 2 * half };
        let rule = AttentionRule { soft_cap, window, scale: 0.3, ..heads.into() };
        let form = if half_pages { KvForm::Bf16 } else { KvForm::F32 };
        let (found, expected) = both(rule, form, &sequences, seed);
        prop_assert_eq!(bits(&found), bits(&expected));
    }
}

#[test]
fn attention_to_more_positions_than_a_tile_has_the_bits_of_the_processor() {
    let heads = Heads { query: 4, key_value: 2, dim: 6 };
    for (window, soft_cap) in [(None, None), (Some(1100), Some(2.0)), (Some(40), None)] {
        let rule = AttentionRule { soft_cap, window, scale: 0.4, ..heads.into() };
        for form in [KvForm::F32, KvForm::Bf16] {
            let (found, expected) = both(rule, form, &[(2490, 3), (1023, 2)], 9);
            assert_eq!(bits(&found), bits(&expected), "{window:?} {form:?}");
        }
    }
}

#[test]
fn the_largest_heads_fit() {
    let heads = Heads { query: 4, key_value: 1, dim: 512 };
    let (found, expected) = both(heads.into(), KvForm::F32, &[(20, 2)], 3);
    assert_eq!(bits(&found), bits(&expected));
}
