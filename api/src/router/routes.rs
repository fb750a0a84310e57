//! Routes that are described as they are added, so that router and documents cannot disagree.

use axum::{
    Router,
    extract::State,
    handler::Handler,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;

use super::command::{IdempotencyKey, command};
use crate::{
    app::App,
    auth::caller::Caller,
    http::{
        client_ip::ClientIp,
        policy::{Policies, Policy},
        request::Fields,
    },
    operations::{Command, Endpoint, Respond},
    spec::operation::{Operation, Route},
};

/// Routes, their descriptions in the API documents, and the policies of requests to them.
pub(crate) struct Routes {
    base: &'static str,
    tag: &'static str,
    policy: Policy,
    pub(crate) router: Router<App>,
    pub(crate) described: Vec<Route>,
    below: Vec<(String, Policy)>,
    inside: Vec<(String, String, Policy)>,
    exact: Vec<(String, Policy)>,
    before_an_id: Vec<String>,
}

impl Routes {
    /// No routes yet. Routes that are added are below `base`, and in the section `tag` of the
    /// documents.
    pub(crate) fn new(tag: &'static str, base: &'static str, policy: Policy) -> Self {
        Routes {
            base,
            tag,
            policy,
            router: Router::new(),
            described: vec![],
            below: base
                .split("/{")
                .next()
                .filter(|base| !base.is_empty())
                .map(|base| (base.to_owned(), policy))
                .into_iter()
                .collect(),
            inside: vec![],
            exact: vec![],
            before_an_id: vec![],
        }
    }

    /// The same for routes of which others have the base, too: their policy is for paths that have
    /// the name behind it in common with one of these.
    pub(crate) fn beside(tag: &'static str, base: &'static str, policy: Policy) -> Self {
        Routes { below: vec![], ..Self::new(tag, base, policy) }
    }

    /// Adds a command.
    pub(crate) fn command<C: Command>(self, method: Method, path: &str) -> Self {
        let envelope = self.policy.envelope;
        let handler = async move |State(app): State<App>,
                                  caller: Caller,
                                  address: ClientIp,
                                  key: IdempotencyKey,
                                  fields: Fields<C>| {
            command(app, caller, address, key, fields, envelope).await
        };
        self.add(method, path, handler, C::described())
    }

    /// Adds an endpoint.
    pub(crate) fn endpoint<E: Endpoint>(self, method: Method, path: &str) -> Self {
        let envelope = self.policy.envelope;
        let handler = async move |State(app): State<App>, caller: E::Caller, fields: Fields<E>| {
            fields.request.run(app, caller).await?.respond(envelope)
        };
        self.add(method, path, handler, E::described())
    }

    /// Adds an endpoint without fields: its body is not read.
    pub(crate) fn endpoint_without_fields<E: Endpoint + Default>(
        self,
        method: Method,
        path: &str,
    ) -> Self {
        let envelope = self.policy.envelope;
        let handler = async move |State(app): State<App>, caller: E::Caller| {
            E::default().run(app, caller).await?.respond(envelope)
        };
        self.add(method, path, handler, E::described())
    }

    /// Adds an endpoint whose path ends with an id whose case matters.
    pub(crate) fn endpoint_by_id<E: Endpoint>(mut self, method: Method, path: &str) -> Self {
        let before = path.rsplit_once('/').map_or(path, |(before, _)| before);
        self.before_an_id.push(format!("{}{before}", self.base));
        self.endpoint::<E>(method, path)
    }

    /// Adds a handler that makes its own response.
    pub(crate) fn get<T: 'static>(
        self,
        path: &str,
        handler: impl Handler<T, App>,
        operation: Operation,
    ) -> Self {
        self.add(Method::GET, path, handler, operation)
    }

    /// Adds a route that a provider calls, as often as it needs to: no limit counts its requests,
    /// whose bodies are no longer than that, and all of them are served.
    pub(crate) fn uncounted_post<T: 'static>(
        mut self,
        path: &str,
        longest_body: usize,
        handler: impl Handler<T, App>,
        operation: Operation,
    ) -> Self {
        let policy =
            Policy { is_limited: false, longest_body, reads: None, writes: None, ..self.policy };
        self.exact.push((format!("{}{path}", self.base), policy));
        self.add(Method::POST, path, handler, operation)
    }

    fn add<T: 'static>(
        mut self,
        method: Method,
        path: &str,
        handler: impl Handler<T, App>,
        operation: Operation,
    ) -> Self {
        if self.below.is_empty()
            && let (Some((before, _)), Some(name)) =
                (self.base.split_once("/{"), path.split('/').nth(1))
        {
            self.inside.push((before.to_owned(), name.to_owned(), self.policy));
        }
        let path = format!("{}{path}", self.base);
        let policy = self.exact.iter().find(|(exact, _)| *exact == path);
        let policy = policy.map_or(self.policy, |(_, policy)| *policy);
        self.router = self.router.route(&path, served(&method, handler));
        self.described.push(Route { method, path, tag: self.tag, policy, operation });
        self
    }

    /// Both sets of routes.
    pub(crate) fn and(mut self, others: Routes) -> Self {
        self.router = self.router.merge(others.router);
        self.described.extend(others.described);
        self.below.extend(others.below);
        self.inside.extend(others.inside);
        self.exact.extend(others.exact);
        self.before_an_id.extend(others.before_an_id);
        self
    }

    /// The policies of these routes, and of `others`, for all paths below them.
    pub(crate) fn policies(&self, others: &[(&str, Policy)]) -> Policies {
        let others = others.iter().map(|(path, policy)| ((*path).to_owned(), *policy));
        let below = self.below.iter().cloned().chain(others).collect();
        Policies::new(self.exact.clone(), self.inside.clone(), below, self.before_an_id.clone())
    }
}

fn served<T: 'static>(method: &Method, handler: impl Handler<T, App>) -> MethodRouter<App> {
    let filter = match *method {
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::DELETE => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    };
    on(filter, handler)
}
