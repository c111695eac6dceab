"use strict";
// Turns the turntables of a page's cards together, and shows their meshes side by side under one camera.

const SECONDS_AROUND = 6;
const FIELD_OF_VIEW = 41, DISTANCE = 2.7, ELEVATION = 15, MARGIN = 1.05; // as the runs' own turntables have them
const figures = JSON.parse(document.getElementById("figures").textContent);
const cards = [...document.querySelectorAll(".card")];
const dataOf = new Map(cards.map((card) => [card, JSON.parse(card.dataset.card)]));

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

// ---- turntables

const onScreen = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.isIntersecting ? onScreen.add(entry.target) : onScreen.delete(entry.target);
}, { rootMargin: "200px" });
document.querySelectorAll(".sheet").forEach((sheet) => watcher.observe(sheet));

/** Shows the frame of a sheet at a share of the way around, 0 to 1. */
function turnTo(sheet, share) {
  const { frames, columns, rows } = sheet.dataset;
  const frame = Math.floor((((share % 1) + 1) % 1) * frames + 1e-6) % frames;
  if (sheet.dataset.frame === String(frame)) return;
  sheet.dataset.frame = frame;
  sheet.style.transform = `translate(${(-100 * (frame % columns)) / columns}%, ${(-100 * Math.floor(frame / columns)) / rows}%)`;
}

const clock = {
  turning: !matchMedia("(prefers-reduced-motion: reduce)").matches,
  share: 0,
  last: performance.now(),
  tick(now) {
    if (this.turning) this.share = (this.share + (now - this.last) / 1000 / SECONDS_AROUND) % 1;
    this.last = now;
  },
};

function frame(now) {
  clock.tick(now);
  if (viewer.isOpen) viewer.draw();
  else onScreen.forEach((sheet) => turnTo(sheet, clock.share));
  requestAnimationFrame(frame);
}

// ---- meshes

/** Reads a mesh as meshes.py packs it. */
function readMesh(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const [vertices, faces, x, y, z, step] = new Float32Array(bytes.buffer, 0, 6);
  const steps = new Uint16Array(bytes.buffer, 24, 3 * vertices);
  const corners = new Uint16Array(bytes.buffer, 24 + 6 * vertices, 3 * faces);
  const srgb = bytes.subarray(24 + 6 * vertices + 6 * faces);
  const low = [x, y, z], color = new THREE.Color(), light = new Float32Array(3 * vertices);
  for (let i = 0; i < 3 * vertices; i += 3) {
    color.setRGB(srgb[i] / 255, srgb[i + 1] / 255, srgb[i + 2] / 255, THREE.SRGBColorSpace).toArray(light, i);
  }
  const shape = new THREE.BufferGeometry();
  shape.setAttribute("position", new THREE.BufferAttribute(Float32Array.from(steps, (s, i) => low[i % 3] + s * step), 3));
  shape.setAttribute("color", new THREE.BufferAttribute(light, 3));
  shape.setIndex(new THREE.BufferAttribute(corners, 1));
  shape.computeVertexNormals();
  return shape;
}

/** How far a shape reaches from the middle of the scene. */
function reach(shape) {
  const places = shape.getAttribute("position").array;
  let most = 0;
  for (let i = 0; i < places.length; i += 3) most = Math.max(most, Math.hypot(places[i], places[i + 1], places[i + 2]));
  return most;
}

function makeScene(shape, bare, camera) {
  const scene = new THREE.Scene();
  const matte = new THREE.MeshLambertMaterial({ vertexColors: !bare, color: bare ? 0xcfcfcf : 0xffffff, side: 2 });
  const headlight = new THREE.DirectionalLight(0xffffff, bare ? 2.2 : 1.3);
  headlight.position.copy(camera.position);
  scene.add(new THREE.Mesh(shape, matte), new THREE.HemisphereLight(0xffffff, bare ? 0x777777 : 0xbbbbbb, bare ? 0.9 : 2), headlight);
  return { scene, headlight, matte };
}

let renderer = null;

/** The one WebGL renderer, whose pictures are copied onto the panes; null where the browser has no WebGL. */
function sharedRenderer() {
  if (renderer === null) {
    try {
      renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
    } catch {
      renderer = undefined;
    }
  }
  return renderer ?? null;
}

// ---- the 3D view of one result or several

const viewer = {
  dialog: document.querySelector(".viewer"),
  panes: [],
  bare: false,
  get isOpen() { return this.dialog.open; },

  open(chosen) {
    this.close();
    this.cards = chosen;
    this.dialog.classList.toggle("alone", chosen.length === 1);
    this.dialog.showModal();
    this.camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW, 1, 0.05, 100);
    this.fill();
    const farthest = Math.max(0, ...this.panes.map((pane) => (pane.shape ? reach(pane.shape) : 0)));
    const distance = Math.max(DISTANCE, (MARGIN * farthest) / Math.sin((FIELD_OF_VIEW / 2) * (Math.PI / 180)));
    const up = ELEVATION * (Math.PI / 180), around = 2 * Math.PI * clock.share;
    this.camera.position.set(Math.cos(up) * Math.sin(around), Math.sin(up), Math.cos(up) * Math.cos(around)).multiplyScalar(distance);
    this.controls = new THREE.OrbitControls(this.camera, this.dialog.querySelector(".panes"));
    Object.assign(this.controls, { enablePan: false, minDistance: distance / 4, maxDistance: 3 * distance, enableDamping: true });
    this.controls.autoRotateSpeed = -60 / SECONDS_AROUND;
    this.controls.update();
    this.number();
    this.press();
    this.name(chosen.map((card) => encodeURIComponent(card.dataset.folder)).join("&"));
  },

  /** Names what is open in the page's address, so that it can be opened again. */
  name(folders) {
    history.replaceState(null, "", folders ? `#${folders}` : location.pathname + location.search);
  },

  /** Makes a pane of each card: its mesh, or its turntable where it has none or the browser cannot show it. */
  fill() {
    const box = this.dialog.querySelector(".panes");
    this.panes = this.cards.map((card) => {
      const pane = element("figure", "", "pane"), view = element("div", "", "view"), caption = element("figcaption", card.dataset.title);
      const packed = card.querySelector(".mesh"), sheet = card.querySelector(".sheet");
      caption.append(element("span", `${card.dataset.method} · ${card.dataset.folder}`));
      pane.append(view, caption);
      if (packed && sharedRenderer()) {
        const canvas = view.appendChild(document.createElement("canvas"));
        return { pane, canvas, shape: readMesh(packed.textContent) };
      }
      if (!sheet) {
        view.append(element("div", "nothing to show", "empty"));
        return { pane };
      }
      const copy = view.appendChild(sheet.cloneNode());
      caption.append(element("span", packed ? "This browser has no WebGL: the turntable." : "No mesh: the turntable."));
      return { pane, sheet: copy };
    });
    box.replaceChildren(...this.panes.map((one) => one.pane));
    this.light();
  },

  /** Gives each mesh its material, in colour or bare. */
  light() {
    for (const pane of this.panes) {
      pane.matte?.dispose();
      if (pane.shape) Object.assign(pane, makeScene(pane.shape, this.bare, this.camera));
    }
  },

  draw() {
    this.controls.autoRotate = clock.turning;
    const now = performance.now();
    this.controls.update(Math.min(0.1, (now - (this.drawn ?? now)) / 1000));
    this.drawn = now;
    const share = this.controls.getAzimuthalAngle() / (2 * Math.PI);
    clock.share = (share + 1) % 1;
    for (const pane of this.panes) {
      pane.pane.dataset.share = clock.share.toFixed(4);
      if (pane.sheet) turnTo(pane.sheet, clock.share);
      if (!pane.shape) continue;
      const side = Math.round(Math.min(devicePixelRatio, 2) * pane.canvas.clientWidth);
      if (side === 0) continue;
      if (pane.canvas.width !== side) pane.canvas.width = pane.canvas.height = side;
      if (renderer.domElement.width !== side) renderer.setSize(side, side, false);
      pane.headlight.position.copy(this.camera.position);
      renderer.render(pane.scene, this.camera);
      const paper = pane.canvas.getContext("2d");
      paper.clearRect(0, 0, side, side);
      paper.drawImage(renderer.domElement, 0, 0);
    }
  },

  /** Writes the table of all figures, the best of each row marked. */
  number() {
    const rows = [], several = this.cards.length > 1, all = this.cards.map((card) => dataOf.get(card).figures);
    if (several) {
      const head = element("tr");
      head.append(element("th"), ...this.cards.map((card) => element("th", `${card.dataset.title}, ${card.dataset.method}`)));
      rows.push(head);
    }
    for (const { name, title, better, about } of figures) {
      const values = all.map((own) => own[name]?.[0]), known = values.filter((value) => value !== undefined);
      if (!known.length) continue;
      const best = better === "higher" ? Math.max(...known) : better === "lower" ? Math.min(...known) : NaN;
      const row = element("tr"), head = element("th", title);
      head.title = about;
      row.append(head, ...all.map((own) => {
        const [value, text] = own[name] ?? [NaN, "–"];
        return element("td", text, several && value === best && new Set(known).size > 1 ? "best" : "");
      }));
      rows.push(row);
    }
    this.dialog.querySelector(".numbers").replaceChildren(...rows);
  },

  press() {
    for (const button of document.querySelectorAll("[data-do=turn]")) button.setAttribute("aria-pressed", clock.turning);
    for (const button of document.querySelectorAll("[data-do=shape]")) button.setAttribute("aria-pressed", this.bare);
  },

  close() {
    this.controls?.dispose();
    for (const pane of this.panes) { pane.shape?.dispose(); pane.matte?.dispose(); }
    this.panes = [];
    this.drawn = undefined;
    if (this.isOpen) this.dialog.close();
    this.name("");
  },
};

// ---- what is pressed

const tray = document.querySelector(".tray");

function chosenCards() {
  return cards.filter((card) => card.querySelector(".pick input").checked);
}

function tell() {
  const chosen = chosenCards().length;
  tray.hidden = chosen === 0;
  tray.querySelector("span").textContent = `${chosen} chosen`;
  document.body.classList.toggle("choosing", chosen > 0);
}

const doings = {
  turn() { clock.turning = !clock.turning; viewer.press(); },
  shape() { viewer.bare = !viewer.bare; viewer.light(); viewer.press(); },
  close() { viewer.close(); },
  compare() { viewer.open(chosenCards()); },
  clear() { for (const card of chosenCards()) card.querySelector(".pick input").checked = false; tell(); },
  beside(button) { viewer.open([...button.closest("section").querySelectorAll(".card")]); },
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]"), turned = event.target.closest(".turn");
  if (button) doings[button.dataset.do](button);
  else if (turned) viewer.open([turned.closest(".card")]);
  else if (event.target === viewer.dialog) viewer.close();
});
document.addEventListener("change", (event) => { if (event.target.closest(".pick")) tell(); });
viewer.dialog.addEventListener("close", () => { if (!viewer.isOpen) viewer.close(); }); // by the Escape key
addEventListener("beforeprint", () => document.querySelectorAll(".sheet").forEach((sheet) => turnTo(sheet, 0.1)));
tell();
viewer.press();
const asked = location.hash.slice(1).split("&").map(decodeURIComponent);
if (cards.some((card) => asked.includes(card.dataset.folder))) viewer.open(cards.filter((card) => asked.includes(card.dataset.folder)));
requestAnimationFrame(frame);
