<?php
 /** * 模拟post进行url请求 * @param string $url * @param string $param */
 function request_post($url = '', $param = '') 
 { 
 	if (empty($url) || empty($param)) { 
		return false; 
	} 
	$postUrl = $url; 
	$curlPost = $param; 
	$ch = curl_init();//初始化curl
        curl_setopt($ch, CURLOPT_URL,$postUrl);//抓取指定网页
        curl_setopt($ch, CURLOPT_HEADER, 0);//设置header
        curl_setopt($ch, CURLOPT_RETURNTRANSFER, 1);//要求结果为字符串且输出到屏幕上
        curl_setopt($ch, CURLOPT_POST, 1);//post提交方式
        curl_setopt($ch, CURLOPT_POSTFIELDS, $curlPost); 
	$data = curl_exec($ch);//运行curl
        curl_close($ch); 
	return $data; 
 }
$url = "http://127.0.0.1:4000/api/notify";
$source = "demo";
$sign_key = "try4dfs%#fs!#$2334ds(%B)";
$room_id = "monitor_room";

$data = time();
$sign = md5($source . $room_id . $data . $sign_key);

$fields = [
'source' => $source,
'room_id' => $room_id,
'data' => $data,
'sign' => $sign
];
$res = request_post($url, http_build_query($fields));
var_dump($res);
