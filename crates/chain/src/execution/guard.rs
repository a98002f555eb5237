//! Ends an execution that takes too long or records too much.
//!
//! Calls, traces and simulations run code that anybody may write, so gas alone does not bound what
//! they cost the node. Blocks never run under a guard: their gas limit is consensus, a clock is not.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use alloy_primitives::{Address, Log, U256};
use revm::{
    Inspector,
    bytecode::opcode,
    context_interface::{ContextTr, context::ContextError},
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, Interpreter,
        interpreter_types::{InputsTr, Jumps, LoopControl},
    },
};

/// Instructions between two looks at the clock: some microseconds.
const STEPS_BETWEEN_CHECKS: u32 = 1024;
/// JSON of one recorded instruction without its stack and memory. Kept in memory it is about as big.
const STEP_BYTES: usize = 320;
/// JSON of one stack word.
const WORD_BYTES: usize = 69;
/// JSON of one recorded call without its data.
const CALL_BYTES: usize = 512;
/// JSON of one recorded log without its data.
const LOG_BYTES: usize = 512;
/// JSON of one storage slot and its value.
const SLOT_BYTES: usize = 136;

/// When something must have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    /// How long it was given.
    pub(crate) allowed: Duration,
}

impl Deadline {
    /// `allowed` from now.
    pub(crate) fn after(allowed: Duration) -> Self {
        Self { at: Instant::now() + allowed, allowed }
    }

    pub(crate) fn has_passed(&self) -> bool {
        Instant::now() >= self.at
    }
}

/// Which limit an execution ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// It took longer than this.
    Time(Duration),
    /// It recorded more than this many bytes.
    Bytes(usize),
}

/// What of an execution is recorded for each instruction, and so counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Every instruction.
    pub(crate) steps: bool,
    /// With the stack.
    pub(crate) stack: bool,
    /// With the memory.
    pub(crate) memory: bool,
    /// With every slot that the contract has read or written so far, where the instruction reads or
    /// writes one.
    pub(crate) storage: bool,
    /// Calls with their data, and logs.
    pub(crate) calls: bool,
}

/// An inspector with limits. May be used for several transactions, which then share them.
pub(crate) struct Guard<I> {
    pub(crate) inner: I,
    deadline: Deadline,
    recorded: Recorded,
    bytes_max: usize,
    bytes: usize,
    steps: u32,
    slots: HashMap<Address, HashSet<U256>>,
    exceeded: Option<Exceeded>,
}

impl<I> Guard<I> {
    /// Guards the time only.
    pub(crate) fn new(inner: I, deadline: Deadline) -> Self {
        Self::recording(inner, deadline, Recorded::default(), usize::MAX)
    }

    /// Guards the time and an estimate of the bytes that `inner` records.
    pub(crate) fn recording(
        inner: I,
        deadline: Deadline,
        recorded: Recorded,
        bytes_max: usize,
    ) -> Self {
        let (bytes, steps, slots, exceeded) = (0, 0, HashMap::new(), None);
        Self { inner, deadline, recorded, bytes_max, bytes, steps, slots, exceeded }
    }

    /// The limit that ended the execution, if one did.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded
    }

    fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max {
            self.exceeded.get_or_insert(Exceeded::Bytes(self.bytes_max));
        }
    }

    /// What one recorded instruction adds.
    fn count_step(&mut self, interp: &Interpreter) {
        let stack = if self.recorded.stack { interp.stack.len() * WORD_BYTES } else { 0 };
        let memory = if self.recorded.memory { interp.memory.len() * 5 / 2 } else { 0 };
        let mut storage = 0;
        if self.recorded.storage
            && matches!(interp.bytecode.opcode(), opcode::SLOAD | opcode::SSTORE)
            && let Ok(slot) = interp.stack.peek(0)
        {
            let slots = self.slots.entry(interp.input.target_address()).or_default();
            slots.insert(slot);
            storage = slots.len() * SLOT_BYTES;
        }
        self.count(STEP_BYTES + stack + memory + storage);
    }

    fn look_at_clock(&mut self) {
        if self.deadline.has_passed() {
            self.exceeded.get_or_insert(Exceeded::Time(self.deadline.allowed));
        }
    }
}

impl<CTX: ContextTr, I: Inspector<CTX>> Inspector<CTX> for Guard<I> {
    fn initialize_interp(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.inner.initialize_interp(interp, context);
    }

    fn step(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(STEPS_BETWEEN_CHECKS) {
            self.look_at_clock();
        }
        if self.recorded.steps {
            self.count_step(interp);
        }
        if self.exceeded.is_some() {
            *context.error() = Err(ContextError::Custom("stopped by the node".to_owned()));
            interp.bytecode.reset_action();
            interp.halt_fatal();
            return;
        }
        self.inner.step(interp, context);
    }

    fn step_end(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.inner.step_end(interp, context);
    }

    fn log(&mut self, context: &mut CTX, log: Log) {
        if self.recorded.calls {
            self.count(LOG_BYTES + 2 * log.data.data.len());
        }
        self.inner.log(context, log);
    }

    fn log_full(&mut self, interp: &mut Interpreter, context: &mut CTX, log: Log) {
        if self.recorded.calls {
            self.count(LOG_BYTES + 2 * log.data.data.len());
        }
        self.inner.log_full(interp, context, log);
    }

    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        // A loop of calls to precompiles is long in time and short in instructions.
        self.look_at_clock();
        if self.recorded.calls {
            self.count(CALL_BYTES + 2 * inputs.input.len());
        }
        self.inner.call(context, inputs)
    }

    fn call_end(&mut self, context: &mut CTX, inputs: &CallInputs, outcome: &mut CallOutcome) {
        if self.recorded.calls {
            self.count(2 * outcome.output().len());
        }
        self.inner.call_end(context, inputs, outcome);
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.look_at_clock();
        if self.recorded.calls {
            self.count(CALL_BYTES + 2 * inputs.init_code().len());
        }
        self.inner.create(context, inputs)
    }

    fn create_end(
        &mut self,
        context: &mut CTX,
        inputs: &CreateInputs,
        outcome: &mut CreateOutcome,
    ) {
        if self.recorded.calls {
            self.count(2 * outcome.output().len());
        }
        self.inner.create_end(context, inputs, outcome);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.inner.selfdestruct(contract, target, value);
    }
}
