/* Starts the page: who is it, and which view. */

import "./styles.css";
import { Api, Failure } from "./api";
import { fill, h, icon, say } from "./dom";
import { route } from "./router";
import { percent } from "./format";
import type { Config } from "./types";
import { forgetUploads, UploadQueue } from "./upload/queue";
import { notice, reason, type View } from "./view/common";
import { homeView } from "./view/home";
import { jobView } from "./view/job";
import { askNamespace, rememberedNamespace, rememberNamespace } from "./view/namespace";
import { signInView } from "./view/signin";

class App {
  private readonly api = new Api();
  private readonly main = document.getElementById("main")!;
  private readonly header = document.getElementById("header")!;
  private config: Config | undefined;
  private queue: UploadQueue | undefined;
  private readonly sending = h("a", { href: "#/", class: "sending", hidden: true });
  private view: View | undefined;
  private shown = "";

  async start(): Promise<void> {
    addEventListener("hashchange", () => this.navigate());
    this.api.onSignedOut = () => this.signedOut();
    addEventListener("beforeunload", (event) => {
      if (this.queue?.busy === true) event.preventDefault();
    });
    this.showHeader();
    try {
      this.config = await this.api.config();
      this.queue = new UploadQueue(this.api, this.config.uploads);
      this.queue.listen(() => this.showSending());
      if (this.config.namespaces.choice) this.api.namespace = rememberedNamespace();
      await this.api.signIn();
    } catch (error) {
      if (error instanceof Failure && error.status === 401 && this.config !== undefined) return; // signedOut has shown what to do
      this.leave();
      fill(this.main, notice("bad", "The service cannot be used now", reason(error), h("button", { type: "button", onclick: () => location.reload() }, "Load again")));
      return;
    }
    this.showHeader();
    this.navigate();
  }

  private navigate(): void {
    if (location.hash === "#main") {
      this.main.focus();
      history.replaceState(null, "", this.shown || "#/"); // a jump on the page is no place
      return;
    }
    if (this.config === undefined || this.queue === undefined || this.api.session === undefined) return;
    const first = this.shown === "";
    this.shown = location.hash || "#/";
    const to = route(location.hash);
    this.show(to.name === "job" ? jobView(this.api, to.id) : homeView(this.api, this.config, this.queue), !first);
    this.showSending();
  }

  private show(view: View, focus: boolean): void {
    this.leave();
    this.view = view;
    document.title = `${view.title} · Pose`;
    fill(this.main, view.element);
    scrollTo(0, 0);
    if (focus) this.main.focus({ preventScroll: true });
  }

  private leave(): void {
    this.view?.dispose();
    this.view = undefined;
  }

  private signedOut(): void {
    if (this.config === undefined || this.view?.title === "Sign in") return;
    this.queue?.pauseAll(); // they go on after a new login
    this.api.session = undefined;
    this.showHeader();
    this.show(
      signInView(this.api, this.config, () => {
        this.showHeader();
        this.navigate();
      }),
      true,
    );
  }

  private showHeader(): void {
    const { session } = this.api;
    const canLeave = session !== undefined && (this.config?.login.logoutURL !== "" || this.api.token !== "");
    fill(
      this.header,
      h("a", { href: "#/", class: "brand" }, icon("figure"), "Pose"),
      this.sending,
      session !== undefined && h("span", { class: "who cut", title: session.user }, session.user, session.namespace !== "" && h("span", { class: "hint" }, ` in ${session.namespace}`)),
      session !== undefined && this.config?.namespaces.choice === true && h("button", { type: "button", class: "small", onclick: () => void this.changeNamespace() }, "Namespace"),
      canLeave && h("button", { type: "button", class: "small", onclick: () => void this.signOut() }, "Sign out"),
    );
  }

  /** On another view than the list, the header tells how far uploads are. */
  private showSending(): void {
    const share = this.queue?.share;
    this.sending.hidden = share === undefined || this.view?.title === "Jobs";
    if (share !== undefined) say(this.sending, `Uploading ${percent(share)}`);
  }

  private async changeNamespace(): Promise<void> {
    const before = this.api.namespace;
    const name = await askNamespace(this.api.session?.namespace ?? "");
    if (name === undefined) return;
    try {
      this.api.namespace = name === this.config?.namespaces.preset ? "" : name;
      await this.api.signIn();
      rememberNamespace(this.api.namespace);
    } catch (error) {
      this.api.namespace = before;
      return this.main.prepend(notice("bad", `The namespace ${name} cannot be shown`, reason(error)));
    }
    this.showHeader();
    location.hash = "#/";
    this.show(homeView(this.api, this.config!, this.queue!), true);
  }

  private async signOut(): Promise<void> {
    const url = this.config?.login.logoutURL ?? "";
    try {
      if (url !== "") await this.api.signOut(url);
    } catch (error) {
      return this.main.prepend(notice("bad", "You are still signed in", reason(error)));
    } finally {
      forgetUploads(localStorage);
    }
    this.queue?.clear();
    this.api.token = "";
    this.signedOut();
  }
}

void new App().start();
