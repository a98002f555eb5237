//! Every kernel, bit by bit, on shapes drawn at random.
