// Draw, move or resize a box on the picture. Events: 'draw' with shares of the picture, 'pick'.
const STEP = 0.01, LEAST = 0.01;
let drawing = false;   // asked to draw: a finger then draws too, and no box is grabbed
let drag = null;       // {mode, from: [x, y], box}
let draft = null;      // [x0, y0, x1, y1] in shares
const stage = () => element.querySelector('.af-stage[data-editable]');
const clamp = (v) => Math.min(Math.max(v, 0), 1);
const at = (event) => {
  const area = stage().getBoundingClientRect();
  return [clamp((event.clientX - area.left) / area.width), clamp((event.clientY - area.top) / area.height)];
};
const boxOf = (node) => {
  const [x, y, w, h] = ['left', 'top', 'width', 'height'].map((k) => parseFloat(node.style[k]) / 100);
  return [x, y, x + w, y + h];
};
const show = () => {
  const node = element.querySelector('.af-draft');
  if (!node) return;
  node.hidden = !draft;
  if (!draft) return;
  const [x0, y0, x1, y1] = draft;
  Object.assign(node.style, {left: `${100 * x0}%`, top: `${100 * y0}%`,
    width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%`});
};
const ordered = ([a, b, c, d]) => [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
const moved = ([x0, y0, x1, y1], dx, dy) => {
  dx = Math.min(Math.max(dx, -x0), 1 - x1);
  dy = Math.min(Math.max(dy, -y0), 1 - y1);
  return [x0 + dx, y0 + dy, x1 + dx, y1 + dy];
};
const send = () => {
  if (draft && draft[2] - draft[0] >= LEAST && draft[3] - draft[1] >= LEAST) trigger('draw', {box: draft});
};

element.addEventListener('pointerdown', (event) => {
  if (!stage()?.contains(event.target) || event.button) return;
  if (event.pointerType === 'touch' && !drawing) return;
  event.preventDefault();
  stage().focus({preventScroll: true});
  stage().setPointerCapture(event.pointerId);
  const corner = drawing ? null : event.target.closest('[data-corner]');
  const chosen = drawing ? null : event.target.closest('.af-chosen, .af-draft');
  const from = at(event);
  if (corner) {
    const [x0, y0, x1, y1] = boxOf(corner.parentElement);
    const name = corner.dataset.corner;
    drag = {mode: 'new', from: [name[1] === 'w' ? x1 : x0, name[0] === 'n' ? y1 : y0]};
  } else if (chosen) {
    drag = {mode: 'move', from, box: boxOf(chosen)};
  } else {
    drag = {mode: 'new', from};
  }
  drag.start = from;
});
element.addEventListener('pointermove', (event) => {
  if (!drag || !stage()) return;
  const [x, y] = at(event);
  draft = drag.mode === 'move'
    ? moved(drag.box, x - drag.from[0], y - drag.from[1]) : ordered([...drag.from, x, y]);
  show();
});
element.addEventListener('pointerup', (event) => {
  if (!drag || !stage()) return;
  const [x, y] = at(event);
  const still = Math.hypot(x - drag.start[0], y - drag.start[1]) < LEAST;
  drag = null;
  if (!still) return send();
  draft = null;
  show();
  // A click: the smallest box under it is the one that is meant.
  const under = [...element.querySelectorAll('.af-box')].filter((node) => {
    const [x0, y0, x1, y1] = boxOf(node);
    return x >= x0 && x <= x1 && y >= y0 && y <= y1;
  }).sort((a, b) => a.offsetWidth * a.offsetHeight - b.offsetWidth * b.offsetHeight)[0];
  if (under && !under.classList.contains('af-chosen'))
    trigger('pick', {what: 'box', index: Number(under.dataset.index)});
});
element.addEventListener('keydown', (event) => {
  if (!stage() || event.target !== stage()) return;
  const way = {ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP]}[event.key];
  if (way) {
    const chosen = element.querySelector('.af-chosen');
    draft ??= chosen ? boxOf(chosen) : [0.25, 0.25, 0.75, 0.75];
    if (event.shiftKey) draft = [draft[0], draft[1],
      Math.min(Math.max(draft[2] + way[0], draft[0] + LEAST), 1), Math.min(Math.max(draft[3] + way[1], draft[1] + LEAST), 1)];
    else draft = moved(draft, ...way);
    show();
  } else if (event.key === 'Enter') {
    send();
  } else if (event.key === 'Escape') {
    draft = null;
    show();
  } else {
    return;
  }
  event.preventDefault();
});
element.addEventListener('click', (event) => {
  const tool = event.target.closest('[data-tool="draw"]');
  const chosen = event.target.closest('button[data-pick]');
  if (tool) {
    drawing = !drawing;
    tool.setAttribute('aria-pressed', String(drawing));
    stage()?.classList.toggle('af-drawing', drawing);
  } else if (chosen) {
    trigger('pick', {what: chosen.dataset.pick, index: Number(chosen.dataset.index)});
  }
});
watch('value', () => { draft = null; drawing = false; });
