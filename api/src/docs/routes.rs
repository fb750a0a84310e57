//! Routes that are described as they are added, so that router and documents cannot disagree.

use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;

use super::operation::Operation;
use crate::app::App;

/// Routes, and what the documents say of each.
pub(crate) struct Routes {
    base: &'static str,
    tag: &'static str,
    pub(crate) router: Router<App>,
    pub(super) described: Vec<Route>,
}

/// What the documents say of one route.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) tag: &'static str,
    pub(super) operation: Operation,
}

impl Routes {
    /// None yet. Those that are added are below `base`, and in the section `tag` of the documents.
    pub(crate) fn new(tag: &'static str, base: &'static str) -> Self {
        Routes { base, tag, router: Router::new(), described: vec![] }
    }

    pub(crate) fn get<T: 'static>(
        self,
        path: &str,
        handler: impl Handler<T, App>,
        operation: Operation,
    ) -> Self {
        self.add(Method::GET, path, on(MethodFilter::GET, handler), operation)
    }

    pub(crate) fn post<T: 'static>(
        self,
        path: &str,
        handler: impl Handler<T, App>,
        operation: Operation,
    ) -> Self {
        self.add(Method::POST, path, on(MethodFilter::POST, handler), operation)
    }

    pub(crate) fn put<T: 'static>(
        self,
        path: &str,
        handler: impl Handler<T, App>,
        operation: Operation,
    ) -> Self {
        self.add(Method::PUT, path, on(MethodFilter::PUT, handler), operation)
    }

    pub(crate) fn delete<T: 'static>(
        self,
        path: &str,
        handler: impl Handler<T, App>,
        operation: Operation,
    ) -> Self {
        self.add(Method::DELETE, path, on(MethodFilter::DELETE, handler), operation)
    }

    fn add(
        mut self,
        method: Method,
        path: &str,
        handler: MethodRouter<App>,
        operation: Operation,
    ) -> Self {
        let path = format!("{}{path}", self.base);
        self.router = self.router.route(&path, handler);
        self.described.push(Route { method, path, tag: self.tag, operation });
        self
    }

    /// These and those.
    pub(crate) fn and(mut self, others: Routes) -> Self {
        self.router = self.router.merge(others.router);
        self.described.extend(others.described);
        self
    }
}
