// Copies that run ahead and products by tensor cores: what C has no words for. The emulator has its own.

#ifndef OPENLEDGER_EMULATED

// Sixteen bytes to shared memory, zeros where there is nothing; done after COPIES_WAIT.
DEVICE void COPY_LATER(uint4 *to, const void *from, u32 there) {
    u32 address = (u32)__cvta_generic_to_shared(to), bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}

// Ends a group of copies.
DEVICE void COPIES_END() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all groups but the newest `left`, a constant.
DEVICE void COPIES_WAIT(u32 left) {
    if (left == 0) asm volatile("cp.async.wait_group 0;" ::: "memory");
    else if (left == 2) asm volatile("cp.async.wait_group 2;" ::: "memory");
    else if (left == 4) asm volatile("cp.async.wait_group 4;" ::: "memory");
    else if (left == 6) asm volatile("cp.async.wait_group 6;" ::: "memory");
    else __trap();
}

// c [16, 8] += a [16, 16] * b [16, 8], the fragments of a warp as PTX defines them.
DEVICE void MULTIPLY_16x8x16(float *c, const u32 *a, const u32 *b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
