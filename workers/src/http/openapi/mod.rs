//! The OpenAPI 3.1 document that a front serves of itself. Pure but for its route.
//!
//! A front describes its operations from what it really runs with: its paths, options, limits and kinds of problems. What every front
//! has is added here: `/health`, the document itself, the problems of the frame, and the shape of a problem.

mod carried;
mod document;
mod operation;

pub use self::{
    carried::carry,
    document::{Document, PATH},
    operation::{Answer, Operation},
};
