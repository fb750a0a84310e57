//! Logins to the operators' pages.

use reqwest::Method;

use crate::client::{Client, Operator};
use crate::response::Response;
use crate::shop::PASSWORD;
use crate::stack::Stack;

impl Stack {
    /// Gives an admin or auditor, who has the usual password, an authenticator, and logs them in to
    /// the operators' pages.
    pub async fn operator(&self, client: &Client) -> Client {
        let secret = self.authenticator(client.id).await;
        self.log_in_to_pages(client, &secret).await
    }

    /// Gives an operator an authenticator; returns its secret.
    pub async fn authenticator(&self, user: i64) -> String {
        let said = self.api_cli_ok(&["operator-totp", &user.to_string(), "--replace"]).await;
        let secret = said.lines().next().and_then(|line| line.strip_prefix("secret "));
        secret.unwrap_or_else(|| panic!("no secret in {said}")).to_owned()
    }

    /// The code that the authenticator shows. Codes are good once; this one is, whichever was used
    /// before.
    pub async fn fresh_code(&self, user: i64, secret: &str) -> String {
        self.execute(&format!("UPDATE operator_totps SET last_step = 0 WHERE user_id = {user}"))
            .await;
        nexus_sandbox::totp::code(secret).expect("a code")
    }

    /// Logs an operator in to the pages.
    pub async fn log_in_to_pages(&self, client: &Client, secret: &str) -> Client {
        let row = self.row(&format!("SELECT email FROM users WHERE id = {}", client.id)).await;
        let email = row["email"].as_str().expect("an address").to_owned();
        let code = self.fresh_code(client.id, secret).await;
        let form = [("login", email.as_str()), ("password", PASSWORD), ("code", &code)];
        let response =
            Response::to(client.request_root(Method::POST, "/admin/login").form(&form)).await;
        let set = response.headers.get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        let cookie = set.and_then(|cookie| cookie.split(';').next());
        let cookie = cookie.unwrap_or_else(|| panic!("no cookie in {response}")).to_owned();
        let mut client = client.clone();
        let secret = secret.to_owned();
        client.operator = Some(Operator { secret, cookie, form_token: String::new() });
        let page = Response::to(client.request_root(Method::GET, "/admin/payments")).await;
        let form_token = page.text.split("name=\"token\" value=\"").nth(1);
        let form_token = form_token.and_then(|rest| rest.split('"').next());
        let form_token = form_token.unwrap_or_else(|| panic!("no form token in {page}")).to_owned();
        client.operator.iter_mut().for_each(|operator| operator.form_token = form_token.clone());
        client
    }
}
