/* Where the gateway serves several namespaces: which one, kept for this tab. */

import { fill, h } from "../dom";

const KEY = "pose-namespace";

export function rememberedNamespace(): string {
  const name = sessionStorage.getItem(KEY) ?? "";
  return valid(name) ? name : "";
}

export function rememberNamespace(name: string): void {
  if (name === "") sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, name);
}

function valid(name: string): boolean {
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name);
}

/** Asks for a namespace: undefined where it was left as it is. */
export function askNamespace(now: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    let answer: string | undefined;
    const input = h("input", { id: "namespace", value: now, required: true, maxlength: 63, pattern: "[a-z0-9]([\\-a-z0-9]*[a-z0-9])?", title: "Lower-case letters, digits and -", autocomplete: "off", spellcheck: "false" });
    const dialog = h("dialog", { "aria-labelledby": "namespace-title" });
    const submit = (event: Event): void => {
      event.preventDefault();
      answer = input.value;
      dialog.close();
    };
    fill(
      dialog,
      h("h2", { id: "namespace-title" }, "Namespace"),
      h("p", {}, "Jobs belong to a namespace of the cluster. Which one do you want to see?"),
      h("form", { onsubmit: submit }, h("label", { for: "namespace" }, "Name"), input, h("div", { class: "row end" }, h("button", { type: "button", onclick: () => dialog.close() }, "Keep"), h("button", { class: "primary" }, "Show"))),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
