//! Where the model side meets the chain: the OpenAI API, receipts, settlement, and their verification.
//!
//! ```text
//! request ─▶ admit (key, model, money) ─▶ generate ─▶ attribute ─▶ sign ─▶ keep ─▶ answer
//!                                                                           │
//!                                     chain ◀── settle in batches ◀─────────┘
//!
//! records ─▶ contribute ─▶ train ─▶ publish ─▶ callable model
//! receipt document ─▶ verify: every number re-derived, offline
//! ```
//!
//! The chain is met through JSON-RPC and contract bindings only: pointing at another node changes
//! nothing here.
//!
//! **Invariant:** an answer that left has its receipt on disk; a receipt on disk is settled once.
//! **Invariant:** no work is done that the payer's balance and spending limit do not cover.
//! **Invariant:** what is settled is what the receipt document derives; there is no second computation.

mod adapter_view;
mod announcement;
mod api_frame;
mod api_key;
mod ask;
mod certify;
mod contributors;
mod document;
mod error;
mod examples;
mod explain;
mod files;
mod gateway;
mod issue;
mod ledger;
mod model_server;
mod openai;
mod opening;
mod progress;
mod publish;
mod published_model;
mod random;
mod reply;
mod reservations;
mod retrain;
mod server;
mod settler;
mod stop_filter;
mod store;
mod text_model;
mod training;
mod verify;
mod verify_further;
mod view;
mod wallets;
mod work_folder;
mod worker;

pub use announcement::{Announcement, TracedStates};
pub use api_frame::{BODY_BYTES_MAX, bind};
pub use api_key::new_api_key;
pub use certify::{
    CERTIFIED_ANSWERS_MAX, certificate_seed, check_certificate, make_certificate,
    publish_certificate, read_certificate,
};
pub use contributors::{group, open_groups};
pub use document::{
    AnswerEvidence, Citation, DOCUMENT_VERSION, DatanetEvidence, ModelEvidence, Player,
    ReceiptDocument, SignedSettlement, Turn,
};
pub use error::Error;
pub use explain::{Explanation, Reason, RecordThatMattered, explain};
pub use gateway::{Gateway, Parts};
pub use ledger::{
    CommittedStates, Included, Ledger, Registration, SettlementRecord, Terms, TrainingTerms,
};
pub use model_server::{ModelServer, ModelServerParts, SharedPrefixes, serve_models};
pub use opening::{
    OpenedEvidence, OpeningManifest, OpeningPublication, earnings, opening_folder, publish_opening,
};
pub use progress::{Pace, TrainingStatus};
pub use publish::{
    CONTRIBUTORS_MAX, Contributed, Publication, contribute, load_adapters, players, publish,
    training_terms,
};
pub use published_model::{ModelManifest, PublishedModel, design_root, training_records};
pub use retrain::{Retraining, SegmentReport, trace_root};
pub use server::serve;
pub use settler::settle_receipts;
pub use store::{ReceiptStatus, Store, StoredReceipt};
pub use training::{TrainedModel, TrainingJob, TrainingProgress, train, train_opening};
pub use verify::{Check, DOCUMENT_BYTES_MAX, verify_json};
pub use verify_further::{verify_likelihoods, verify_on_chain};
pub use wallets::{DEV_MNEMONIC, DevSigners, Wallets};
pub use worker::{Helped, help_training};
