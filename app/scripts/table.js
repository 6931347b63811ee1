// Sorting and filtering stay in the browser; they are kept when rows are added. One event, 'pick'.
const state = {column: null, falling: false, status: ''};
const value = (row) => row.children[state.column]?.dataset.value ?? '';
const apply = () => {
  const body = element.querySelector('tbody');
  if (!body) return;
  const rows = [...body.rows];
  if (state.column !== null) {
    const kind = element.querySelector(`[data-sort="${state.column}"]`).dataset.kind;
    const order = (a, b) => kind === 'number'
      ? (Number(a) || 0) - (Number(b) || 0) : a.localeCompare(b, undefined, {numeric: true});
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);  // what has no figure stands last
      return state.falling ? order(y, x) : order(x, y);
    });
    body.append(...rows);
  }
  for (const row of rows) row.hidden = state.status !== '' && row.dataset.status !== state.status;
  for (const chip of element.querySelectorAll('[data-filter]'))
    chip.setAttribute('aria-pressed', String(chip.dataset.filter === state.status));
  for (const button of element.querySelectorAll('[data-sort]')) {
    const mine = Number(button.dataset.sort) === state.column;
    button.closest('th').setAttribute(
      'aria-sort', mine ? (state.falling ? 'descending' : 'ascending') : 'none');
  }
};
element.addEventListener('click', (event) => {
  const head = event.target.closest('[data-sort]');
  const chip = event.target.closest('[data-filter]');
  const row = event.target.closest('[data-pick]');
  if (head) {
    const column = Number(head.dataset.sort);
    state.falling = state.column === column ? !state.falling : head.dataset.kind === 'number';
    state.column = column;
    apply();
  } else if (chip) {
    state.status = chip.dataset.filter;
    apply();
  } else if (row) {
    trigger('pick', {what: 'entry', index: Number(row.dataset.index)});
  }
});
watch('value', apply);
