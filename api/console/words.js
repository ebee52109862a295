// The words of the console in English and Chinese, and numbers in the plant's unit.

const WORDS = {
  colon: [": ", "："], listed: [", ", "，"], meant: ["{name} ({meaning})", "{name}（{meaning}）"],
  skip: ["Skip to the content", "跳到正文"],
  pages: ["Pages", "页面"],
  predict: ["Predict", "预测"], sheet: ["Sheet", "表格"], outcomes: ["Measured", "实测"],
  batches: ["Batches", "批次"], monitor: ["Monitor", "监控"], suggest: ["Suggest", "建议"], model: ["Model", "模型"],
  reference: ["API reference", "接口文档"],
  language: ["中文", "English"],
  signOut: ["Sign out", "退出"], signedIn: ["Signed in as {name}", "已登录：{name}"],
  keyTitle: ["This service asks for a key", "此服务需要密钥"],
  keyHint: ["It is kept in a cookie that scripts cannot read, until you close the browser.", "密钥保存在脚本无法读取的 Cookie 中，关闭浏览器后失效。"],
  keyNotKept: ["Without TLS the key cannot be kept: give it again after a reload.", "没有 TLS 时无法保存密钥：刷新页面后请重新输入。"],
  key: ["API key", "API 密钥"], useKey: ["Sign in", "登录"],
  keyWrong: ["The service does not know this key, or it has expired. Check that all of it was copied.", "服务不认识此密钥，或已过期。请检查是否完整复制。"],
  keyLacks: ["This page needs a key with the scope “{scope}”. Ask the operator for one.", "此页面需要具有“{scope}”权限的密钥，请向管理员申请。"],
  unreachable: ["The service cannot be reached", "无法连接服务"],
  unreachableHint: ["Check the network and try again in a moment.", "请检查网络，稍后重试。"],
  busy: ["Working …", "处理中……"], cancel: ["Cancel", "取消"], retry: ["Try again", "重试"],
  modelPin: ["The model that answered", "作出预测的模型"], version: ["Version", "版本"], revision: ["Revision", "提交"],
  interval: ["Interval", "区间"], lower: ["Lower", "下限"], upper: ["Upper", "上限"],
  batch: ["Batch", "批次"], warnings: ["Warnings", "警告"], none: ["none", "无"], noName: ["(no name)", "（无编号）"],
  typical: ["typical {value}", "典型值 {value}"], range: ["{low} to {high}", "{low} 至 {high}"],
  mostly: ["mostly {low} to {high}, ", "多为 {low} 至 {high}，"],
  trainedRange: ["trained on {low} to {high}", "训练范围 {low} 至 {high}"],
  outside: ["outside what the model was trained on ({low} to {high})", "超出训练范围（{low} 至 {high}）"],
  unlike: ["Unlike the training batches", "与训练批次不同"],
  unlikeHint: ["{count} readings lie where the model has seen few batches; trust the prediction less.", "{count} 项读数处于模型很少见过的范围，预测的可信度较低。"],
  blankUnusual: ["blank, which is rare ({share} % of the training batches)", "空白，少见（训练批次的 {share} %）"],
  like: ["All readings lie in the ranges of the training batches.", "所有读数都在训练批次的范围内。"],
  oneBatch: ["One batch", "单个批次"], batchId: ["Batch id", "批号"],
  predictHint: ["Change a reading and the prediction follows. Nothing is recorded until you choose Record.", "修改读数后预测会立即更新。点“记录”之前不会保存。"],
  record: ["Record this prediction", "记录此预测"], recorded: ["Recorded in the journal.", "已写入日志。"],
  whyTitle: ["Why this prediction", "预测的原因"], why: ["Explain", "解释"],
  whyStart: ["A typical batch: {value}", "典型批次：{value}"], whyRest: ["all other features", "其他特征"],
  insteadOf: ["{name} {value} instead of {typical}", "{name}为 {value}，典型为 {typical}"], missing: ["missing", "缺失"], isBlank: ["{name} is blank", "{name}为空"], isGiven: ["{name} is given", "{name}已填写"],
  feature_to: ["{first} to {second}", "{first} 至 {second} 的间隔"], feature_per: ["{first} per {second}", "{first} 与 {second} 之比"],
  feature_minus: ["{first} minus {second}", "{first} 减 {second}"], feature_length: ["length of {first}", "{first} 的时长"],
  feature_clock: ["time of {first}", "{first} 的时刻"], feature_in_shift: ["{first} in its shift", "{first} 在班次中的时刻"],
  points: ["{value} points", "{value} 个百分点"],
  exampleBatch: ["Example batch", "示例批次"], fromJournal: ["A batch of the journal", "日志中的批次"], load: ["Load", "载入"],
  before: ["At the start", "起始"], now: ["Now", "现在"], change: ["Change", "变化"], reset: ["Reset", "还原"],
  notFound: ["No batch begins with “{id}”.", "没有以“{id}”开头的批次。"],
  kind_number: ["a number", "数字"], kind_clock: ["clock, for example 13:30:00", "时间，例如 13:30:00"], kind_range: ["range, for example 21:00-21:30", "时段，例如 21:00-21:30"],
  sheetTitle: ["Predict a sheet", "预测表格"],
  choose: ["Choose a CSV or Excel file", "选择 CSV 或 Excel 文件"], drop: ["or drop it here", "或拖放到此处"],
  dropHint: ["As the plant writes it: GB18030 or UTF-8, with or without the measured {target}.", "按工厂格式：GB18030 或 UTF-8，可含或不含实测{target}。"],
  pastedRows: ["the pasted rows", "粘贴的数据"], paste: ["Or paste rows, header included", "或粘贴行（包括表头）"], predictSheet: ["Predict", "预测"], useExample: ["Use an example", "使用示例"],
  emptySheet: ["Choose a file or paste rows first.", "请先选择文件或粘贴数据。"],
  secondFile: ["Only the first file, {name}, is taken.", "只处理第一个文件 {name}。"],
  fileGone: ["The file {name} was changed or removed after it was chosen. Choose it again.", "文件 {name} 在选择后被修改或删除，请重新选择。"],
  columns: ["Check the columns", "核对列"], columnsHint: ["Some columns are not named as the plant names them.", "有些列名与工厂格式不同。"],
  headerMissing: ["The header is missing: copy it too, or choose “The rows are in the plant's order”.", "缺少表头：请一并复制，或选择“按工厂列顺序”。"],
  plantOrder: ["The rows are in the plant's order", "按工厂列顺序"],
  ignore: ["ignore", "忽略"], readAs: ["{name} is read as", "{name} 读作"], absent: ["Absent, taken as missing: {names}", "缺少的列按缺失处理：{names}"],
  goOn: ["Go on", "继续"], results: ["Predictions of {name}", "{name}的预测"],
  mean: ["Mean", "平均"], lowest: ["Lowest", "最低"], highest: ["Highest", "最高"], count: ["Batches", "批次数"], warned: ["With warnings", "有警告"],
  error: ["Error", "误差"], meanError: ["Mean absolute error", "平均绝对误差"], coverage: ["Inside the interval", "区间覆盖率"],
  measured: ["Measured", "实测"], search: ["Search batches", "搜索批次"], onlyWarned: ["Only with warnings", "仅有警告"],
  previous: ["Previous", "上一页"], next: ["Next", "下一页"], shown: ["{first} to {last} of {all}", "第 {first} 至 {last} 行，共 {all} 行"],
  nothingFits: ["No batch fits.", "没有符合的批次。"], downloadCsv: ["Download CSV", "下载 CSV"], downloadXlsx: ["Download Excel", "下载 Excel"],
  histogram: ["Histogram of the predictions", "预测分布图"], trend: ["Predictions in file order", "按文件顺序的趋势"],
  open: ["Open", "打开"], takeMeasured: ["Record the {count} measured values of this sheet", "记录此表的 {count} 个实测值"],
  outcomesTitle: ["Measured {target}", "实测{target}"], enterOne: ["Enter one", "录入一个"], value: ["Value", "数值"], unit: ["Unit", "单位"],
  save: ["Record", "记录"], upload: ["Upload the laboratory's CSV", "上传实验室 CSV"], uploadHint: ["Columns: batch id, value and, if known, the time of the measurement.", "列：批号、数值；如已知，还有测量时间。"],
  askUnit: ["Are these values in {unit}, or fractions of 1?", "这些数值的单位是 {unit}，还是小数？"], fraction: ["fraction of 1", "小数"],
  looksLike: ["The values lie between {low} and {high}.", "数值在 {low} 和 {high} 之间。"],
  recordedOf: ["{recorded} recorded, {corrected} corrected, {unchanged} known already.", "新记录 {recorded}，更正 {corrected}，已有 {unchanged}。"],
  unmatched: ["{count} match no prediction: {names}", "{count} 个没有对应的预测：{names}"],
  unusualValues: ["Outside the usual range; correct or withdraw them if they are wrong: {names}", "超出通常范围；如有误请更正或撤回：{names}"],
  meanErrorAlone: ["Mean absolute error, model alone", "仅模型的平均绝对误差"], correction: ["Correction by measured values", "按实测值修正"],
  badRows: ["{count} rows cannot be read: {names}", "{count} 行无法读取：{names}"],
  withdraw: ["Withdraw", "撤回"], withdrawSure: ["Withdraw the measured value of {id}?", "撤回 {id} 的实测值？"], withdrawn: ["Withdrawn: {id}", "已撤回：{id}"],
  reported: ["Reported", "报告时间"], measuredAt: ["Measured at", "测量时间"], by: ["By", "操作者"], predictions: ["Predictions", "预测数"], more: ["Show more", "显示更多"],
  batchesTitle: ["Predicted batches", "已预测的批次"], since: ["Since", "起始时间"], until: ["Until", "截止时间"], find: ["Find", "查找"],
  asked: ["Asked", "预测时间"], predicted: ["Predicted", "预测值"], compare: ["Compare the two", "比较两个批次"], chooseTwo: ["Tick two batches to compare them.", "勾选两个批次进行比较。"],
  recordTitle: ["Batch record", "批次记录"], print: ["Print", "打印"], reading: ["Reading", "读数"], meaning: ["Meaning", "含义"],
  difference: ["Difference", "差异"], worth: ["Worth", "影响"], worthHint: ["Worth: how the prediction of the first batch changes if only this reading is that of the second.", "影响：仅将该读数改为第二个批次的值时，第一个批次预测的变化。"],
  same: ["All other readings are equal.", "其他读数相同。"], whatIf: ["What if …", "假如……"],
  refresh: ["Refresh", "刷新"],
  monitorTitle: ["Is the model still good?", "模型仍然可靠吗？"], verdict_worse: ["worse", "变差"], verdict_steady: ["steady", "稳定"], verdict_drifted: ["drifted", "漂移"], verdict_unknown: ["too few batches", "批次太少"],
  chart: ["Control chart of the predictions", "预测控制图"], live: ["Live error", "在线误差"], drift: ["Drift by reading", "各读数漂移"],
  bias: ["Bias", "偏差"], checked: ["Checked {at}", "检查时间 {at}"], measuredCount: ["Measured batches", "已实测批次"], noneMeasured: ["No measured values yet.", "尚无实测值。"],
  distribution: ["{name}: newest batches against training", "{name}：最新批次与训练对比"], training: ["training", "训练"], newest: ["newest", "最新"],
  blank: ["Blank", "空白"], workers: ["Workers", "进程"],
  driftReport: ["Drift report", "漂移报告"], driftReportHint: ["All of this in words and charts, as one file to keep or to send.", "以文字和图表汇总以上内容的单个文件，可保存或发送。"],
  period: ["Period", "时段"], lastDays: ["last {days} days", "最近 {days} 天"], all: ["all", "全部"],
  suggestTitle: ["Suggest changes", "建议调整"], suggestHint: ["A model's suggestion, not a causal promise: the model saw which batches went well together with which readings, not what changing one does. Try it with care.", "这是模型的建议，不是因果保证：模型只看到读数与结果的关联，并不知道改变读数的后果。请谨慎试验。"],
  settable: ["Readings that may be changed", "可调整的读数"], suggestGo: ["Look for changes", "寻找调整"], suggestNone: ["No change of one reading inside its range raises the prediction.", "没有单项调整能提高预测。"],
  from: ["From", "从"], to: ["To", "到"], gain: ["Change of the prediction", "预测变化"], use: ["Try in what-if", "在预测页中试"],
  together: ["All of the best three together", "前三项一起"], modelTitle: ["The model in service", "当前模型"], artifacts: ["Files", "文件"], rawData: ["raw data", "原始数据"],
  metrics: ["Metrics on held-out batches", "留出批次的指标"], trainedOn: ["Training batches", "训练批次"], shadow: ["In the shadow", "影子模型"],
  metric_bias: ["Mean error (bias)", "平均误差（偏差）"], metric_coverage: ["Inside the interval", "区间覆盖率"], metric_mae: ["Mean absolute error", "平均绝对误差"],
  metric_r2: ["Explained variance (R²)", "解释方差（R²）"], metric_rmse: ["Root mean square error", "均方根误差"], metric_score: ["Half the mean square error", "均方误差的一半"], metric_width: ["Width of the interval", "区间宽度"],
  metric: ["Metric", "指标"], confidence: ["{level} % interval", "{level} % 区间"],
  evaluation_metrics: ["Metrics on the test batches", "测试批次的指标"], evaluation_predicted: ["Predicted against measured", "预测与实测对比"],
  evaluation_residuals: ["Residuals in time order", "按时间顺序的残差"], evaluation_learning: ["Learning curve", "学习曲线"],
  evaluation_predicted_hint: ["{count} test batches, predicted by the model alone; on the line, both are equal.", "{count} 个测试批次，仅用模型预测；线上两者相等。"],
  evaluation_residuals_hint: ["{count} test batches: measured minus predicted. Points that stay on one side of the line for long show a drift.", "{count} 个测试批次：实测减预测。长期位于线的一侧说明存在漂移。"],
  evaluation_learning_hint: ["Error on the test batches after {count} trainings with more and more batches. If it still falls at the end, more batches would help.", "用逐渐增多的批次训练 {count} 次后，测试批次的误差。若末端仍在下降，增加批次会有帮助。"],
  evaluationHint: ["The model was not trained on these batches. With other batches, a metric would mostly lie in its interval (bootstrap).", "模型没有用这些批次训练。换用其他批次时，指标大多落在区间内（自助法）。"],
  evaluationAbsent: ["Not on this server: {names}. A service that runs in a checkout shows them after “dvc pull”.", "此服务器上没有：{names}。在代码库中运行的服务，执行“dvc pull”后会显示。"],
  evaluationOther: ["Intervals and plots are shown only where dvc.lock pins them for the model in service.", "仅当 dvc.lock 为当前模型锁定了区间和图形时，才会显示它们。"],
  comma: [", ", "、"], residual: ["Measured minus predicted", "实测减预测"], batchNumber: ["Batch number, in time order", "批次编号，按时间顺序"],
  versions: ["Versions", "版本"], versionsHint: ["These are the versions that this service has or had in service. It has no git, so it cannot know others: “batchyield release list” in a checkout lists all that were released.", "这里是本服务正在或曾经使用的版本。服务中没有 git，因此不知道其他版本：在代码库中运行“batchyield release list”可列出所有已发布版本。"],
  role: ["Role", "角色"], role_serving: ["in service", "使用中"], role_shadow: ["in the shadow", "影子"], role_before: ["served before", "曾使用"], against: ["Against the one before", "与前一版本相比"], unreadable: ["card unreadable", "卡片无法读取"],
  ofNewest: ["Of the newest {count} predictions.", "最近 {count} 次预测。"],
  params: ["Parameters", "参数"], refused: ["Refused", "已拒绝"], deployed: ["Models that answered", "作答过的模型"], rollbackHint: ["To return to the model before: a key with the scope “admin” here, or “batchyield deploy rollback” on the server.", "恢复上一个模型：在此使用具有“admin”权限的密钥，或在服务器上运行“batchyield deploy rollback”。"],
  servedBefore: ["Models that served before", "以前的模型"], rollback: ["Return to the previous model", "恢复上一个模型"],
  rollbackSure: ["Return to version {version} ({md5})?", "恢复版本 {version}（{md5}）？"], rolledBack: ["Version {version} serves now, in {workers} workers.", "版本 {version} 现已在 {workers} 个进程中运行。"],
  journalOff: ["The service keeps no journal, so there is nothing to show here.", "服务未保存日志，因此这里没有内容。"],
};

let language = localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");
let plant = { readings: [], target: {} };
const byName = new Map();

export const currentLanguage = () => language;

export function setLanguage(wanted) {
  language = wanted;
  localStorage.setItem("language", wanted);
  document.documentElement.lang = wanted === "zh" ? "zh-CN" : "en";
}

/** Return the words of a key, with {names} replaced. */
export const t = (key, values = {}) =>
  WORDS[key][language === "zh" ? 1 : 0].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

export function setPlant(found) {
  plant = found;
  byName.clear();
  for (const reading of found.readings) byName.set(reading.name, reading);
}

export const readings = () => plant.readings;
export const readingOf = (name) => byName.get(name);
export const meaningOf = (reading) => (language === "zh" ? reading.meaning_zh : reading.meaning);
export const target = () => plant.target;
export const targetWord = () => (language === "zh" ? plant.target.word_zh : plant.target.word);
export const targetTitle = () => targetWord().replace(/^\w/, (letter) => letter.toUpperCase());

const locale = () => (language === "zh" ? "zh-CN" : "en");

/** Return a number with at most five significant digits, as a person would write it. */
export const plain = (value) =>
  value === null || value === undefined ? "–" : typeof value === "number" ? `${+value.toPrecision(5)}` : `${value}`;
export const whole = (value) => value.toLocaleString(locale());

/** Return a predicted or measured value in the plant's unit. */
export const shown = (value) => (value === null || value === undefined ? "–" : (value * plant.target.scale).toFixed(plant.target.decimals));
export const shownUnit = (value) => (value === null || value === undefined ? "–" : `${shown(value)}${plant.target.unit && ` ${plant.target.unit}`}`);
/** Return a difference with its sign. */
export function signed(value) {
  const text = shown(Math.abs(value));
  return /^[0.]*$/.test(text) ? text : `${value < 0 ? "−" : "+"}${text}`;
}
export const signedUnit = (value) => (plant.target.unit === "%" ? t("points", { value: signed(value) }) : `${signed(value)} ${plant.target.unit}`);
export const time = (iso) => new Date(iso).toLocaleString(locale(), { dateStyle: "medium", timeStyle: "short" });
export const percent = (share) => `${(share * 100).toFixed(share < 0.01 && share > 0 ? 1 : 0)} %`;
