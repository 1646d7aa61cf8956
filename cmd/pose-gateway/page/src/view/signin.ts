import type { Api } from "../api";
import { h, say } from "../dom";
import type { Config } from "../types";
import { reason, type View } from "./common";

/** What stands in place of everything else until somebody is signed in. */
export function signInView(api: Api, config: Config, signedIn: () => void): View {
  const { login } = config;
  const box = h("section", { class: "card narrow", "aria-labelledby": "signin" }, h("h1", { id: "signin" }, "Sign in"));
  if (login.mode === "OIDC") {
    const target = new URL(login.loginURL || "/", location.origin);
    target.searchParams.set("return", location.pathname + location.hash);
    box.append(h("p", {}, "Videos and results belong to people: sign in to see yours."), h("a", { class: "button primary", href: target.pathname + target.search }, "Sign in with your organisation"));
  } else if (login.mode === "Token") {
    box.append(tokenForm(api, signedIn));
  } else {
    box.append(h("p", {}, "The service does not know who you are. It is meant to be reached through your organisation's sign-in page: open it from there, or load this page again."), h("button", { type: "button", onclick: () => location.reload() }, "Load again"));
  }
  return { element: box, title: "Sign in", dispose: () => undefined };
}

function tokenForm(api: Api, signedIn: () => void): HTMLElement {
  const input = h("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "token-help token-error" });
  const error = h("p", { id: "token-error", class: "error", role: "alert" });
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    api.token = input.value.trim();
    try {
      await api.signIn();
      signedIn();
    } catch (failure) {
      api.token = "";
      say(error, reason(failure));
      input.focus();
    }
  };
  return h(
    "form",
    { onsubmit: (event) => void submit(event) },
    h("label", { for: "token" }, "Access token"),
    input,
    h("p", { id: "token-help", class: "hint" }, "For example from “kubectl create token”. It is kept until you close or reload this page, and stored nowhere."),
    error,
    h("button", { class: "primary" }, "Sign in"),
  );
}
