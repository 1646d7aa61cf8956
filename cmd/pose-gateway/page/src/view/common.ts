/* Pieces that several views use. */

import { Failure } from "../api";
import { fill, h, icon, say, type Child } from "../dom";
import type { Tone } from "../stages";

export interface View {
  element: HTMLElement;
  title: string;
  dispose(): void;
}

export function chip(label: string, tone: Tone): HTMLElement {
  return h("span", { class: `chip ${tone.toLowerCase()}` }, label);
}

/** A bar, 0..1 or undefined for "busy, not known how far". */
export function bar(label: string): { element: HTMLProgressElement; set: (share: number | undefined) => void } {
  const element = h("progress", { max: 1, "aria-label": label });
  return {
    element,
    set: (share) => {
      if (share === undefined) element.removeAttribute("value");
      else element.value = share;
    },
  };
}

export function notice(tone: "bad" | "warn" | "good", title: string, ...rest: Child[]): HTMLElement {
  return h("div", { class: `notice ${tone}`, role: tone === "bad" ? "alert" : undefined }, h("strong", {}, title), ...rest.map((child) => (typeof child === "string" ? h("p", {}, child) : child)));
}

/** The words of any error. */
export function reason(error: unknown): string {
  if (error instanceof Failure) return error.requestID === "" ? error.message : `${error.message} (request ${error.requestID.slice(0, 64)})`;
  return error instanceof Error ? error.message : String(error);
}

/** Says something to screen readers, once. */
export function announce(text: string): void {
  const region = document.getElementById("announcer");
  if (region !== null) say(region, text);
}

/** A table of terms. Rows whose value is empty are left out. */
export function facts(rows: [string, Child][]): HTMLElement {
  const list = h("dl", { class: "facts" });
  for (const [term, value] of rows) if (value !== "" && value !== undefined && value !== null) list.append(h("div", {}, h("dt", {}, term), h("dd", {}, value)));
  return list;
}

export interface Question {
  title: string;
  text: string;
  action: string;
  /** Label of a box to tick, and whether it is ticked. */
  choice?: string;
  chosen?: boolean;
}

/** Asks before something that cannot be undone: undefined for no, else whether the box was ticked. */
export function confirm(question: Question): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "confirm-title", "aria-describedby": "confirm-text" });
    const box = h("input", { type: "checkbox" });
    box.checked = question.chosen === true;
    let answer: boolean | undefined;
    const yes = (): void => {
      answer = box.checked;
      dialog.close();
    };
    fill(
      dialog,
      h("h2", { id: "confirm-title" }, question.title),
      h("p", { id: "confirm-text" }, question.text),
      question.choice !== undefined && h("label", { class: "check" }, box, question.choice),
      // The harmless answer comes first.
      h("div", { class: "row end" }, h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Keep"), h("button", { type: "button", class: "danger", onclick: yes }, question.action)),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A part of a view that is made anew only when what it shows has changed, so that focus and open details stay. */
export function part(element: HTMLElement): (key: unknown, make: () => Child[]) => void {
  let last: string | undefined;
  return (key, make) => {
    const now = JSON.stringify(key);
    if (now === last) return;
    last = now;
    const kept = document.activeElement instanceof HTMLElement && element.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
    fill(element, ...make());
    if (kept !== undefined) [...element.querySelectorAll<HTMLElement>("[data-focus]")].find((e) => e.dataset.focus === kept)?.focus();
  };
}

export function backLink(): HTMLElement {
  return h("a", { href: "#/", class: "back" }, icon("back"), "All jobs");
}
